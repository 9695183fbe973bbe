"""Odd reports, reactions, lists and automatic mails."""

from bridges.email.mail import Mail, MailReaction, ReportKind
from tests.bridges.email.parsing.case import Case, text
from tests.bridges.email.parsing.mails import mail, multimail, part

DAEMON = "Mail Delivery System <MAILER-DAEMON@mx.example.org>"
RETURNED = part("Message-ID: <mid.1@bridge.example>\nSubject: s\n\nx", "message/rfc822")


def _dsn(status: str, *more: bytes, kind: str = "message/delivery-status", sender: str = DAEMON) -> bytes:
    return multimail(
        "report",
        part("It could not be delivered."),
        part(status, kind),
        *(more or (RETURNED,)),
        more="; report-type=delivery-status",
        sender=sender,
    )


def _told(body: str, headers: str = "Subject: Undelivered Mail Returned to Sender\n", sender: str = DAEMON) -> bytes:
    return mail(body, headers, sender=sender).replace(b"Subject: A subject\r\n", b"", 1)


def _fates(mail: Mail) -> object:
    report = mail.report
    return None if report is None else [(fate.recipient, fate.action, fate.status) for fate in report.fates]


def _about(mail: Mail) -> object:
    return mail.report.about if mail.report is not None else None


def _kind(mail: Mail) -> object:
    return mail.report.kind if mail.report is not None else None


def _reaction(*parts: bytes, headers: str = "In-Reply-To: <1@x>\n") -> bytes:
    return multimail("alternative", part("\U0001f44d"), *parts, headers=headers)


def _rfc(emoji: str) -> bytes:
    return part(emoji, "text/plain; charset=utf-8", "Content-Disposition: reaction")


def _gmail(json: str) -> bytes:
    return part(json, "text/vnd.google.email-reaction+json; charset=utf-8")


def _look_reaction(mail: Mail) -> object:
    return mail.reaction


def _automatic(mail: Mail) -> object:
    return mail.automatic


def _unsubscribe(mail: Mail) -> object:
    return mail.unsubscribe, mail.one_click


_GROUP = "Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; {}\nAction: {}\nStatus: {}\nDiagnostic-Code: smtp; {}\n"

_STANDARD: list[tuple[str, str, list[tuple[str, str, str]]]] = [
    (
        "failed",
        _GROUP.format("a@b.example", "failed", "5.1.1", "550 5.1.1 no such user"),
        [("a@b.example", "failed", "5.1.1")],
    ),
    ("delayed", _GROUP.format("a@b.example", "delayed", "4.4.1", "x"), [("a@b.example", "delayed", "4.4.1")]),
    (
        "delivered",
        _GROUP.format("a@b.example", "delivered", "2.0.0", "250 ok"),
        [("a@b.example", "delivered", "2.0.0")],
    ),
    ("relayed", _GROUP.format("a@b.example", "relayed", "2.0.0", "250 ok"), [("a@b.example", "relayed", "2.0.0")]),
    ("expanded", _GROUP.format("a@b.example", "Expanded", "2.0.0", "x"), [("a@b.example", "expanded", "2.0.0")]),
    (
        "an action in other words",
        _GROUP.format("a@b.example", "Failure (final)", "5.0.0", "x"),
        [("a@b.example", "failed", "5.0.0")],
    ),
    (
        "an action that is none",
        _GROUP.format("a@b.example", "exploded", "4.0.0", "x"),
        [("a@b.example", "delayed", "4.0.0")],
    ),
    (
        "a status only in the words",
        _GROUP.format("a@b.example", "failed", "", "550 5.7.1 no"),
        [("a@b.example", "failed", "5.7.1")],
    ),
    (
        "brackets around the recipient",
        _GROUP.format("<a@b.example>", "failed", "5.0.0", "x"),
        [("a@b.example", "failed", "5.0.0")],
    ),
    (
        "a recipient without type",
        "\nX: y\n\nFinal-Recipient: a@b.example\nAction: failed\n",
        [("a@b.example", "failed", "")],
    ),
    (
        "an original recipient",
        "A: b\n\nOriginal-Recipient: rfc822;o@b.example\nFinal-Recipient: rfc822;f@b.example\nAction: failed\nStatus: 5.0.0\n",
        [("o@b.example", "failed", "5.0.0")],
    ),
    (
        "two recipients",
        "A: b\n\nFinal-Recipient: rfc822;a@b.example\nAction: failed\nStatus: 5.0.0\n\nFinal-Recipient: rfc822;c@b.example\nAction: delayed\nStatus: 4.0.0\n",
        [("a@b.example", "failed", "5.0.0"), ("c@b.example", "delayed", "4.0.0")],
    ),
    (
        "all in one group",
        "Reporting-MTA: dns; x\nFinal-Recipient: rfc822;a@b.example\nAction: failed\nStatus: 5.0.0\n",
        [("a@b.example", "failed", "5.0.0")],
    ),
    (
        "a recipient in UTF-8 (RFC 6533)",
        "A: b\n\nFinal-Recipient: utf-8; j\\x{F6}rg@b.example\nAction: failed\nStatus: 5.0.0\n",
        [("jörg@b.example", "failed", "5.0.0")],
    ),
    (
        "a code point that is none",
        "A: b\n\nFinal-Recipient: utf-8; j\\x{FFFFFF}\\x{D800}@b.example\nAction: failed\nStatus: 5.0.0\n",
        [("j@b.example", "failed", "5.0.0")],
    ),
    (
        "lines that are no fields",
        "nonsense\n\nFinal-Recipient: rfc822;a@b.example\nAction: failed\nStatus: 5.0.0\n",
        [("a@b.example", "failed", "5.0.0")],
    ),
    (
        "a status with words",
        _GROUP.format("a@b.example", "failed", "5.1.1 (bad mailbox)", "x"),
        [("a@b.example", "failed", "5.1.1")],
    ),
    ("no recipient", "Reporting-MTA: dns; x\n", []),
    ("nothing", "", []),
]

_WORDS: list[tuple[str, bytes, object]] = [
    (
        "Exim",
        _told(
            "A message that you sent could not be delivered to one or more of its recipients.\n\n  a@b.example\n    host mx [192.0.2.1]: 550 5.1.1 no such user\n\n------ This is a copy of the message ------\n\nMessage-ID: <mid.1@bridge.example>\n",
            "Subject: Mail delivery failed: returning message to sender\nX-Failed-Recipients: a@b.example\n",
        ),
        [("a@b.example", "failed", "5.1.1")],
    ),
    (
        "Exim with two",
        _told("x", "Subject: Mail delivery failed\nX-Failed-Recipients: a@b.example,\n  c@b.example\n"),
        [("a@b.example", "failed", ""), ("c@b.example", "failed", "")],
    ),
    (
        "Exim that waits",
        _told(
            "a@b.example\n  Delay reason: 451 4.7.1 greylisted\n",
            "Subject: Warning: message delayed 24 hours\nX-Failed-Recipients: a@b.example\n",
        ),
        [("a@b.example", "delayed", "4.7.1")],
    ),
    (
        "qmail",
        _told(
            "Hi. This is the qmail-send program at b.example.\nI'm afraid I wasn't able to deliver your message to the following addresses.\n\n<a@b.example>:\n192.0.2.1 failed after I sent the message.\nRemote host said: 552 5.2.2 mailbox full\n\n--- Below this line is a copy of the message.\n\nMessage-ID: <mid.1@bridge.example>\n",
            "Subject: failure notice\n",
        ),
        [("a@b.example", "failed", "5.2.2")],
    ),
    (
        "GMX",
        _told(
            "This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one or more of\nits recipients. This is a permanent error. The following address\nfailed:\n\na@b.example:\nSMTP error from remote server: 550 5.1.1 unknown\n",
            "Subject: Mail delivery failed: returning message to sender\n",
        ),
        [("a@b.example", "failed", "5.1.1")],
    ),
    (
        "Yahoo",
        _told(
            "Sorry, we were unable to deliver your message to the following address.\n\n<a@b.example>:\n550: 5.7.1 not wanted\n\n--- Below this line is a copy of the message.\n",
            "Subject: Failure Notice\n",
        ),
        [("a@b.example", "failed", "5.7.1")],
    ),
    (
        "Exchange",
        _told(
            "Your message did not reach some or all of the intended recipients.\n\nThe following recipient(s) cannot be reached:\n\na@b.example on 1/5/2026\n550 5.1.1 User unknown\n",
            "Subject: Undeliverable: s\n",
        ),
        [("a@b.example", "failed", "5.1.1")],
    ),
    (
        "in German",
        _told(
            "Die Mail konnte nicht zugestellt werden.\n\na@b.example:\n550 5.1.1 unbekannt\n",
            "Subject: Unzustellbar: s\n",
        ),
        [("a@b.example", "failed", "5.1.1")],
    ),
    ("somebody who writes about a bounce", _told("a@b.example: 550 5.1.1", sender="Bob <bob@example.org>"), None),
    ("a daemon that reports nothing", _told("Your quota is nearly used up.", "Subject: Quota\n"), None),
]

_AUTOMATIC: list[tuple[str, str, bool]] = [
    ("an ordinary mail", "X: y\n", False),
    ("auto-replied", "Auto-Submitted: auto-replied\n", True),
    ("auto-generated with a comment", "Auto-Submitted: auto-generated (by x)\n", True),
    ("auto-notified with a parameter", "Auto-Submitted: auto-notified; owner-email=x\n", True),
    ("said to be by hand", "Auto-Submitted: no\n", False),
    ("bulk", "Precedence: Bulk\n", True),
    ("first class", "Precedence: first-class\n", False),
    ("a list", "List-Id: <l.example>\n", True),
    ("a newsletter", "List-Unsubscribe: <https://x.example/>\n", True),
    ("Exchange that wants no answer", "X-Auto-Response-Suppress: All\n", True),
    ("Exchange that wants one", "X-Auto-Response-Suppress: None\n", False),
    ("an old autoresponder", "X-Autoreply: yes\n", True),
    ("a returned path of nobody", "Return-Path: <>\n", True),
]

_SUBJECTS = [
    "Automatic reply: s",
    "Out of Office: s",
    "Abwesenheitsnotiz: s",
    "Automatische Antwort: s",
    "Réponse automatique : s",
    "Risposta automatica: s",
    "Respuesta automática: s",
    "Autosvar: s",
    "Автоответ: s",
]

CASES = [
    *(Case(f"report: {odd}", _dsn(status), _fates, want) for odd, status, want in _STANDARD),
    *(Case(f"report in words: {odd}", data, _fates, want) for odd, data, want in _WORDS),
    *(Case(f"automatic: {odd}", mail("x", headers), _automatic, want) for odd, headers, want in _AUTOMATIC),
    *(
        Case(f"automatic by its subject: {said}", mail("x").replace(b"A subject", said.encode()), _automatic, True)
        for said in _SUBJECTS
    ),
    Case("automatic: from nobody who reads", mail("x", sender="no-reply@example.org"), _automatic, True),
    Case("automatic: a person called Noreen", mail("x", sender="noreen@example.org"), _automatic, False),
    Case("report: about which mail", _dsn(_STANDARD[0][1]), _about, ("mid.1@bridge.example",)),
    Case(
        "report: only the header came back",
        _dsn(_STANDARD[0][1], part("Message-ID: <mid.2@b>\n", "text/rfc822-headers")),
        _about,
        ("mid.2@b",),
    ),
    Case(
        "report: the mail came back in base64",
        _dsn(
            _STANDARD[0][1],
            part("TWVzc2FnZS1JRDogPG1pZC4zQGI+DQoNCng=", "message/rfc822", "Content-Transfer-Encoding: base64"),
        ),
        _about,
        ("mid.3@b",),
    ),
    Case("report: in words, with the header below", _WORDS[0][1], _about, ("mid.1@bridge.example",)),
    Case(
        "report: a list has put it into a mixed mail",
        multimail("mixed", part("x"), part(_STANDARD[0][1], "message/delivery-status"), part("footer"), sender=DAEMON),
        _fates,
        [("a@b.example", "failed", "5.1.1")],
    ),
    Case(
        "report: encoded (RFC 6533)",
        _dsn(
            "QTogYgoKRmluYWwtUmVjaXBpZW50OiB1dGYtODsgasO2QGIuZXhhbXBsZQpBY3Rpb246IGZhaWxlZAo=",
            kind="message/global-delivery-status\nContent-Transfer-Encoding: base64",
        ),
        _fates,
        [("jö@b.example", "failed", "")],
    ),
    Case(
        "report: 1,000 recipients",
        _dsn("A: b\n\n" + "Final-Recipient: rfc822;a@b.example\nAction: failed\n\n" * 1000),
        lambda m: len(m.report.fates) if m.report else 0,
        100,
    ),
    Case(
        "report: nothing of it is shown as a file",
        _dsn(_STANDARD[0][1]),
        lambda m: (text(m), m.files),
        ("It could not be delivered.", ()),
    ),
    Case(
        "report: a receipt",
        multimail(
            "report",
            part("Read."),
            part(
                "Final-Recipient: rfc822;a@b.example\nOriginal-Message-ID: <mid.1@b>\nDisposition: manual-action/MDN-sent-manually; displayed\n",
                "message/disposition-notification",
            ),
            more="; report-type=disposition-notification",
        ),
        lambda m: (_kind(m), _fates(m), _about(m)),
        (ReportKind.READ, [("a@b.example", "displayed", "")], ("mid.1@b",)),
    ),
    Case(
        "report: a complaint",
        multimail(
            "report",
            part("Spam."),
            part("Feedback-Type: abuse\nOriginal-Rcpt-To: <a@b.example>\n", "message/feedback-report"),
            RETURNED,
        ),
        lambda m: (_kind(m), _fates(m), _about(m)),
        (ReportKind.ABUSE, [("a@b.example", "abuse", "")], ("mid.1@bridge.example",)),
    ),
    Case("reaction: RFC 9078", _reaction(_rfc("\U0001f44d")), _look_reaction, MailReaction("\U0001f44d")),
    Case(
        "reaction: RFC 9078 alone",
        mail(
            "\u2764\ufe0f",
            "Content-Type: text/plain; charset=utf-8\nContent-Disposition: reaction\nIn-Reply-To: <1@x>\n",
        ),
        _look_reaction,
        MailReaction("\u2764\ufe0f"),
    ),
    Case(
        "reaction: with a colour of skin",
        _reaction(_rfc("\U0001f44d\U0001f3fd")),
        _look_reaction,
        MailReaction("\U0001f44d\U0001f3fd"),
    ),
    Case(
        "reaction: a family",
        _reaction(_rfc("\U0001f468\u200d\U0001f469\u200d\U0001f467")),
        _look_reaction,
        MailReaction("\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    ),
    Case(
        "reaction: a flag",
        _reaction(_rfc("\U0001f1e9\U0001f1ea")),
        _look_reaction,
        MailReaction("\U0001f1e9\U0001f1ea"),
    ),
    Case("reaction: a key", _reaction(_rfc("1\ufe0f\u20e3")), _look_reaction, MailReaction("1\ufe0f\u20e3")),
    Case("reaction: a word", _reaction(_rfc("yes")), _look_reaction, None),
    Case("reaction: letters", _reaction(_rfc("\u00e4\u00e4")), _look_reaction, None),
    Case("reaction: many", _reaction(_rfc("\U0001f44d" * 100)), _look_reaction, None),
    Case("reaction: invisible", _reaction(_rfc("\u200d\ufe0f")), _look_reaction, None),
    Case("reaction: to nothing", _reaction(_rfc("\U0001f44d"), headers=""), _look_reaction, None),
    Case(
        "reaction: Delta Chat",
        _reaction(_rfc("\U0001f44d \u2764"), headers="In-Reply-To: <1@x>\nChat-Version: 1.0\n"),
        _look_reaction,
        MailReaction("\U0001f44d", replaces=True),
    ),
    Case(
        "reaction: taken back in Delta Chat",
        _reaction(_rfc(""), headers="In-Reply-To: <1@x>\nChat-Version: 1.0\n"),
        _look_reaction,
        MailReaction("", replaces=True),
    ),
    Case(
        "reaction: Gmail",
        _reaction(_gmail('{"emoji":"\U0001f44d","version":1}')),
        _look_reaction,
        MailReaction("\U0001f44d"),
    ),
    Case(
        "reaction: Gmail in a later version",
        _reaction(_gmail('{"emoji":"\U0001f44d","version":2}')),
        _look_reaction,
        None,
    ),
    Case("reaction: Gmail broken", _reaction(_gmail('{"emoji":')), _look_reaction, None),
    Case("reaction: Gmail nested 100,000 deep", _reaction(_gmail("[" * 4000)), _look_reaction, None),
    Case("reaction: who sends one can read one", _reaction(_rfc("\U0001f44d")), lambda m: m.reads_reactions, True),
    Case("reaction: Delta Chat can read one", mail("x", "Chat-Version: 1.0\n"), lambda m: m.reads_reactions, True),
    Case("edit: Chat-Edit", mail("x", "Chat-Edit: <1@x>\n"), lambda m: m.edits, "1@x"),
    Case(
        "edit: hidden in the first part",
        multimail("mixed", part("x", "text/plain", "Chat-Edit: <1@x>")),
        lambda m: m.edits,
        "1@x",
    ),
    Case("delete: Chat-Delete", mail("x", "Chat-Delete: 1@x 2@x\n"), lambda m: m.deletes, ("1@x", "2@x")),
    Case(
        "list: its id and name",
        mail("x", 'List-Id: "The List" <l.Example.org>\n'),
        lambda m: (m.list_id, m.list_name),
        ("l.example.org", "The List"),
    ),
    Case(
        "list: an encoded name",
        mail("x", "List-Id: =?utf-8?q?L=C3=A4st?= <l.example>\n"),
        lambda m: m.list_name,
        "Läst",
    ),
    Case("list: an id without brackets", mail("x", "List-Id: l.example\n"), lambda m: m.list_id, "l.example"),
    Case(
        "list: where to write",
        mail("x", "List-Post: <mailto:l@example.org> (moderated)\n"),
        lambda m: m.list_post,
        "mailto:l@example.org",
    ),
    Case("list: closed", mail("x", "List-Post: NO\n"), lambda m: m.list_post, ""),
    Case(
        "list: one click",
        mail(
            "x",
            "List-Unsubscribe: <mailto:u@l.example>, <https://l.example/u?x=1>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n",
        ),
        _unsubscribe,
        (("https://l.example/u?x=1", "mailto:u@l.example"), True),
    ),
    Case(
        "list: one click without https",
        mail("x", "List-Unsubscribe: <http://l.example/u>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n"),
        _unsubscribe,
        ((), False),
    ),
    Case(
        "list: no click",
        mail("x", "List-Unsubscribe: <https://l.example/u>\n"),
        _unsubscribe,
        (("https://l.example/u",), False),
    ),
    Case("list: script", mail("x", "List-Unsubscribe: <javascript:x>, <file:///x>\n"), _unsubscribe, ((), False)),
    Case(
        "list: an address over two lines",
        mail("x", "List-Unsubscribe: <https://l.example/\n u>\n"),
        _unsubscribe,
        (("https://l.example/u",), False),
    ),
    Case(
        "bridges that it has crossed",
        mail("x", "X-Matrix-Bridge: abc; hops=1\nX-Matrix-Bridge: def\n"),
        lambda m: m.bridges,
        ("abc", "def"),
    ),
    Case(
        "over how many bridges it says that it came",
        mail("x", "X-Matrix-Bridge: abc; hops=4\nX-Matrix-Bridge: def; hops=x\n"),
        lambda m: m.crossed,
        4,
    ),
    Case(
        "bridges that count nothing",
        mail("x", "X-Matrix-Bridge: abc\nX-Matrix-Bridge: def\n"),
        lambda m: m.crossed,
        2,
    ),
]
