# Sourced by run, test and scripts/lock: finds a Python and keeps .venv equal to the lock files.
# POSIX sh under `set -eu`; the caller has changed into the project's folder.

say() { printf '%s\n' "$*" >&2; }

# Sets PYTHON to the first interpreter of 3.11 or newer, or stops with what to install.
# PYTHON from the environment wins, and must fit.
find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            PYTHON=$(command -v "$candidate")
            return 0
        fi
    done
    say "matrix-bridge needs Python 3.11 or newer; found: $("${PYTHON:-python3}" --version 2>&1 || echo none)"
    say "Install it:   apt-get install -y python3 python3-venv"
    say "or name one:  PYTHON=/path/to/python3.12 $0"
    exit 1
}

# The Debian package that holds ensurepip for PYTHON.
venv_package() {
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    default=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)
    if [ "$version" = "$default" ]; then echo python3-venv; else echo "python$version-venv"; fi
}

has_ensurepip() { "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1; }

need_ensurepip() {
    has_ensurepip && return 0
    say "$PYTHON cannot make virtual environments. Install what is missing:"
    say "    apt-get install -y $(venv_package)"
    exit 1
}

# ready_venv run|test: on return .venv holds what the locks say, and this project, editable.
# An environment made for `test` also serves `run`. Costs two cksum calls when nothing changed.
ready_venv() {
    run_stamp=$(cksum requirements.lock pyproject.toml | cksum)
    test_stamp=$(cksum requirements.lock requirements-dev.lock pyproject.toml | cksum)
    venv_is_ready "$1" && return 0
    (
        # Two commands started at once must not both install.
        if command -v flock >/dev/null 2>&1; then
            mkdir -p .cache
            exec 9>.cache/venv.lock
            flock 9
        fi
        venv_is_ready "$1" || install_venv "$1"
    )
}

venv_is_ready() {
    [ -x .venv/bin/matrix-bridge ] && .venv/bin/python -c '' 2>/dev/null || return 1
    [ "$(cat ".venv/.ready-for-test" 2>/dev/null || true)" = "$test_stamp" ] && return 0
    [ "$1" = run ] && [ "$(cat ".venv/.ready-for-run" 2>/dev/null || true)" = "$run_stamp" ]
}

install_venv() {
    if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
        find_python
        need_ensurepip
        say "making .venv with $PYTHON"
        rm -rf .venv
        "$PYTHON" -m venv .venv
    fi
    purpose=$1
    # An environment that was made for testing stays one.
    if [ -e .venv/.ready-for-test ]; then purpose=test; fi
    if [ "$purpose" = test ]; then lock=requirements-dev.lock; else lock=requirements.lock; fi
    say "installing the packages of $lock into .venv (once; a minute or less)"
    quiet_pip install --require-hashes -r "$lock"
    say "installing matrix-bridge from this folder"
    quiet_pip install --no-deps --no-build-isolation --editable .
    if [ "$purpose" = test ]; then
        echo "$test_stamp" >.venv/.ready-for-test
    else
        echo "$run_stamp" >.venv/.ready-for-run
    fi
}

# pip without advice on itself, questions, or a HOME it may write to.
quiet_pip() {
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore \
        .venv/bin/python -m pip -qq --no-color "$@" || {
        say "pip failed (above). The lock is fixed: is the package index reachable?"
        exit 1
    }
}
