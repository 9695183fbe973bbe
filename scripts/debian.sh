# Sourced by test: the Debian packages that integration tests need, never started as services.
# POSIX sh under `set -eu`, after scripts/venv.sh.

# Where Debian keeps the commands that are not in everyone's PATH.
PATH=$PATH:/usr/sbin:/sbin

# Prints the packages that are missing, one a line.
missing_packages() {
    command -v openssl >/dev/null 2>&1 || echo openssl
    command -v inspircd >/dev/null 2>&1 || echo inspircd
    command -v ngircd >/dev/null 2>&1 || echo ngircd
    command -v atheme-services >/dev/null 2>&1 || echo atheme-services
    command -v postfix >/dev/null 2>&1 || echo postfix
    command -v swaks >/dev/null 2>&1 || echo swaks
    command -v node >/dev/null 2>&1 || echo nodejs
    command -v npm >/dev/null 2>&1 || echo npm
    has_postgres || echo postgresql
    if [ ! -x .venv/bin/python ] && ! has_ensurepip; then venv_package; fi
}

has_postgres() {
    command -v postgres >/dev/null 2>&1 && command -v initdb >/dev/null 2>&1 && return 0
    for folder in /usr/lib/postgresql/*/bin; do
        [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ] && return 0
    done
    return 1
}

# Installs what is missing, as root or through sudo; otherwise stops with the line to run.
ready_packages() {
    missing=$(missing_packages | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        say "integration tests need, from this system's packages: $missing"
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        say "integration tests need Debian packages, and this is neither root nor sudo. Run:"
        say "    apt-get update && apt-get install -y --no-install-recommends $missing"
        say "or, which keeps the services they bring from being started:"
        say "    sudo sh scripts/install-stopped $missing"
        say "or leave the real servers out:  ./test --fast"
        exit 1
    fi
    say "installing Debian packages: $missing"
    $as_root sh scripts/install-stopped $missing || {
        say "apt-get failed (above). By hand:"
        say "    apt-get update && apt-get install -y --no-install-recommends $missing"
        exit 1
    }
    missing=$(missing_packages | tr '\n' ' ')
    [ -z "$missing" ] || { say "still missing after apt-get: $missing"; exit 1; }
}
