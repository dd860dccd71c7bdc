"""Lines in the form of a neighbouring program, and lines that do nothing or too much."""

from __future__ import annotations

import pytest

from greylist.whitelist.lines import rule
from greylist.whitelist.matcher import Patterns, Whitelist
from greylist.whitelist.postgrey import client_rule, recipient_rule


def match(text, form=rule, **attributes):
    patterns = Patterns(text, form)
    assert patterns.errors == []
    request = {name.encode(): value for name, value in attributes.items()}
    return patterns.match(b"/".join(request.values()), request)


@pytest.mark.parametrize(
    ("line", "name", "other"),
    [
        (b"*.example.com", b"mx.example.com", b"mx.badexample.com"),
        (b"*.example.com", b"example.com", b"example.net"),
        (b"XX", b"mail.xx", b"mail.yy"),
        (b".example.edu", b"a.example.edu", b"badexample.edu"),
        (b"@example.org", b"mx.example.org", b"mx.example.net"),
        (b"host-*.example.com", b"host-17.example.com", b"a.host-17.example.com"),
        (b"mx1.example.com,mx2.example.com", b"mx2.example.com", b"mx3.example.com"),
        (b"mx1.example.com, .example.org", b"mx.example.org", b"mx.example.net"),
        (b"example.com.", b"mx.example.com", b"mx.example.net"),
        (b"Client_Name=^mx[.]", b"mx.example.com", b"amx.example.com"),
    ],
)
def test_names_as_neighbours_write_them(line, name, other):
    """A name of a client is read as sqlgrey, access(5) and people mean it."""
    assert match(line, client_rule, client_name=name)
    assert not match(line, client_rule, client_name=other)


@pytest.mark.parametrize("form", [client_rule, lambda line: rule(b"client_address=" + line)])
@pytest.mark.parametrize(
    ("line", "inside", "outside"),
    [
        (b"192.0.2.*", b"192.0.2.7", b"192.0.3.7"),
        (b"192.0.*.*", b"192.0.3.7", b"192.1.3.7"),
        (b"192.0.2.", b"192.0.2.7", b"192.0.3.7"),
        (b"192.0.2.1-192.0.2.9", b"192.0.2.9", b"192.0.2.10"),
        (b"192.0.2.3-9", b"192.0.2.3", b"192.0.2.2"),
        (b"192.0.2.7-192.0.2.7", b"192.0.2.7", b"192.0.2.8"),
        (b"2001:db8::1-2001:db8::9", b"2001:db8::8", b"2001:db8::a"),
        (b"192.0.2.1,198.51.100.0/24", b"198.51.100.7", b"192.0.2.2"),
        (b"0.0.0.0-255.255.255.255", b"192.0.2.1", b"2001:db8::1"),
    ],
)
def test_addresses_as_neighbours_write_them(form, line, inside, outside):
    """Wildcards, ranges and lists of addresses are networks, in each of the files."""
    assert match(line, form, client_address=inside)
    assert not match(line, form, client_address=outside)


@pytest.mark.parametrize(
    ("line", "address", "other"),
    [
        (b"*@example.com", b"a@example.com", b"a@sub.example.com"),
        (b"@example.com", b"a@example.com", b"a@badexample.com"),
        (b"@example.com", b"a@example.com", b"a@sub.example.com"),
        (b".example.org", b"a@sub.example.org", b"a@badexample.org"),
        (b"*.example.org", b"a@sub.example.org", b"a@badexample.org"),
        (b"*.example.org", b"a@example.org", b"a@example.net"),
        (b".X.example", b"a@x.example", b"a@y.example"),
        (b"XX", b"a@mail.xx", b"a@mail.yy"),
        (b"163.X", b"a@163.x", b"a@163.y"),
        (b"sub-*.example.org", b"a@sub-1.example.org", b"a@x.sub-1.example.org"),
        (b"<b@example.org>", b"b@example.org", b"c@example.org"),
        (b"info-*@example.org", b"info-1@example.org", b"xinfo-1@example.org"),
        (b"a@example.org, b@example.org", b"b@example.org", b"c@example.org"),
        (b"b@example.org.", b"b@example.org", b"b@example.orgs"),
        (b"example.org.", b"b@example.org", b"b@example.orgs"),
        (b"@.example.org", b"b@sub.example.org", b"b@badexample.org"),
        (b'"b"@example.org', b"b@example.org", b"bb@example.org"),
        (b'"a b"@example.org'.replace(b" ", b":"), b"a:b@example.org", b"b@example.org"),
        ("b@b\u00fccher.example".encode(), b"b@xn--bcher-kva.example", b"b@bucher.example"),
        ("b\u00fccher.example".encode(), b"b@sub.xn--bcher-kva.example", b"b@bucher.example"),
        (b"b@xn--bcher-kva.example", "b@b\u00fccher.example".encode(), b"b@bucher.example"),
        (b"b@xn--bcher-kva.example", b"b@xn--bcher-kva.example", b"b@bucher.example"),
        (b"b@xn--a-ecp.ru\xff".replace(b"\xff", b""), b"b@xn--a-ecp.ru", b"b@a.ru"),
        ("j\u00f6rg@example.org".encode(), "j\u00f6rg@example.org".encode(), b"jrg@example.org"),
    ],
)
def test_recipients_as_neighbours_write_them(line, address, other):
    """A recipient is read as other programs' lists mean it."""
    assert match(line, recipient_rule, recipient=address)
    assert not match(line, recipient_rule, recipient=other)


@pytest.mark.parametrize(
    "line",
    [
        b"/a@example[.]com/", b"//", b"/[^/]+/b@", b"sender=^$", b"sender=@example[.]com$",
        b"client_name=^mx[0-9]", b"client_name=192-0-2", b"client_name=example", b"prvs=",
        b"client_address=192.0.2.3-192.0.2.9", b"client_name=^mx.{1,2}[.]example",
        b"sasl_username=^a\tb",
        b"client_name=^mx.{1,2}$", b"recipient=(?x)^b@ example", b"sender=^X=a@",
        b"recipient=^J\xc3\xb6rg@",
        b"ccert_subject=CN=My Name", b"joe=example[.]com@", b"recipient=^(sales|info)@",
    ],
)  # fmt: skip
def test_no_doubt(line):
    """Lines that do what they say are not named."""
    patterns = Patterns(line)
    assert (patterns.errors, patterns.doubts) == ([], [])


@pytest.mark.parametrize("line", [b"localhost", b"b@localhost", b"example.org", b"info-*@*.org"])
def test_no_doubt_about_recipients(line):
    """Nor are these, of recipients."""
    patterns = Patterns(line, recipient_rule)
    assert (patterns.errors, patterns.doubts) == ([], [])


def test_other_forms_in_nogreylist():
    """A network without its attribute's name, capitals, and a comment behind a line."""
    assert match(b"192.0.2.0/24", client_address=b"192.0.2.9")
    assert match(b"2001:db8::/32", client_address=b"2001:db8::9")
    assert match(b"Client_Name=^mx", client_name=b"mx.example.com")
    for comment in b" # the office", b"\t# the office", b" \t #":
        line = b"client_name=\\.example\\.com$" + comment
        assert match(line, client_name=b"a.example.com")
    assert match(b"tls_sni=^mx", tls_sni=b"mx.example.org")


def test_letters_beyond_ascii():
    """A dot stands for a letter, whatever its bytes, and capitals for small ones."""
    joerg = "j\u00f6rg@example.org".encode()
    assert match(b"recipient=^j.rg@", recipient=joerg)
    assert match("recipient=^J\u00d6RG@".encode(), recipient=joerg)
    assert match(b"recipient=^j..rg@", recipient=joerg)
    assert not match(b"recipient=^j.g@", recipient=joerg)
    assert match(b"recipient=^j..rg@", recipient=b"j\xf6\xffrg@example.org")


def test_classes_beside_look_around():
    """Python's expressions have no [:digit:], and a line with both matches all the same."""
    assert match(b"^(?!10[.])[[:digit:]]+[.]0[.]2[.]", client_address=b"192.0.2.1", sender=b"")
    patterns = Patterns(b"(?!a)[[:^digit:]]")
    reason = "such a class of characters is not to be had beside look-around"
    assert patterns.errors == [(1, reason)]


@pytest.mark.parametrize(
    ("line", "form", "reason"),
    [
        (b"client_adress=192.0.2.0/24", rule,
         "never matches: client_adress is no attribute of Postfix; client_address is one"),
        (b"new_attribute=7", rule,
         "new_attribute is no attribute of Postfix's (up to 3.12), so this is an expression"),
        (b"client_name=unknown", rule,
         ("never matches: unknown is no verified name; write reverse_client_name=, or ^unknown/ "
          "for clients without an address")),
        (b"unknown", client_rule,
         ("never matches: unknown is no verified name; write reverse_client_name=, or ^unknown/ "
          "for clients without an address")),
        (b"client_address=0.0.0.0/0", rule, "matches everybody who comes by IPv4"),
        (b"::/0", client_rule, "matches everybody who comes by IPv6"),
        (b"/./", client_rule, "matches everybody"),
        (b"/.*/", recipient_rule, "matches everybody"),
        (b".*", rule, "matches everybody"),
        (b"2001:db8::9/64", client_rule,
         "bits beyond the prefix: this is all of 2001:db8::/64; write that"),
        (b"client_address=192.0.2.1,198.51.100.9/24", rule,
         "bits beyond the prefix: this is all of 198.51.100.0/24; write that"),
        (b"client_foo=7", rule,
         "client_foo is no attribute of Postfix's (up to 3.12), so this is an expression"),
        (b"recipient=[@.]MAX$", rule, "a domain without a dot; a user is written MAX@"),
        (b"recipient=[@.]j\xf6$", rule, "a domain without a dot; a user is written j\\xf6@"),
        (b"192.0.2.9/24", client_rule,
         "bits beyond the prefix: this is all of 192.0.2.0/24; write that"),
        (b"client_address=192.0.2.9/24", rule,
         "bits beyond the prefix: this is all of 192.0.2.0/24; write that"),
        (b"client_address=10", rule, "one octet alone: this is all of 10.0.0.0/8; write that"),
        (b"example.com # a friend", rule,
         ("never matches: no address has a blank in it; a comment needs a line of its own, with "
          "# in column 1")),
        (b"/j\xf6rg@", rule, "is not UTF-8, as addresses are: save the file as UTF-8"),
        (b"/./", rule,
         ("between slashes stands a whole sender, which has an @; an expression stands here "
          "without them")),
        (b"/mx1[.]example[.]com/", rule,
         ("between slashes stands a whole sender, which has an @; an expression stands here "
          "without them")),
        (b"/MX1[.]example/", rule,
         ("between slashes stands a whole sender, which has an @; an expression stands here "
          "without them")),
        (b"new_attribute=a=7", rule,
         "new_attribute is no attribute of Postfix's (up to 3.12), so this is an expression"),
        (b"helo_name\tmx1", rule, "never matches: write helo_name="),
        (b"example.com\t# a friend", rule,
         ("never matches: no address has a blank in it; a comment needs a line of its own, with "
          "# in column 1")),
        (b"client_name=/mx/", rule, "never matches: the expression stands here without slashes"),
        (b"sender=<>", rule,
         "never matches: addresses come without < and >; the empty sender is sender=^$"),
        (b"recipient=^<b@example.org>$", rule,
         "never matches: addresses come without < and >; the empty sender is sender=^$"),
        (b"recipient==b@", rule,
         "never matches: the expression comes right behind one equals sign"),
        (b"client_name=~mx", rule,
         "never matches: the expression comes right behind one equals sign"),
        (b"client_name: mx1", rule, "never matches: write client_name="),
        (b"helo_name mx1", rule, "never matches: write helo_name="),
        (b"client=mx1", rule, "client is no attribute of Postfix's; client_name is one"),
        (b"from=a@", rule, "from is no attribute of Postfix's; sender is one"),
        (b"recipient=b@ c@", rule,
         "never matches: no name or address has a blank or comma; write a line for each"),
        (b"client_name=^192.0.2.5$", rule, "no name is an address: write client_address=192.0.2.5"),
        (b"client_name=192\\.0\\.2\\.5", rule,
         "no name is an address: write client_address=192.0.2.5"),
        (b"postmaster", recipient_rule, "a domain without a dot; a user is written postmaster@"),
        ("b@example.org\u200b".encode(), recipient_rule,
         "has a character that is not seen, U+200B: delete it"),
        ("\ufeffb@example.org".encode(), recipient_rule,
         "has a character that is not seen, U+FEFF: delete it"),
        ("sender=^a\u00a0@".encode(), rule, "has a character that is not seen, U+00A0: delete it"),
        ("b@example.org\u00a0".encode(), recipient_rule,
         "has a character that is not seen, U+00A0: delete it"),
        (b"client_name=mx1.example.com,mx2.example.com", rule,
         "never matches: no name or address has a blank or comma; write a line for each"),
        ("client_name=b\u00fccher[.]example".encode(), rule,
         "never matches: names of hosts are ASCII; write the name's form with xn--"),
    ],
)  # fmt: skip
def test_doubts(tmp_path, at_once, line, form, reason):
    """A line that can match nobody, or matches everybody, is named when the list is read."""
    path = tmp_path / "list"
    path.write_bytes(b"\n" + line + b"\n")
    said = []
    Whitelist(str(path), said.append, form).match(b"", {})
    assert said == [f"list:2: {reason}"]


@pytest.mark.parametrize(
    ("line", "form", "reason"),
    [
        (b"192.0.2.7;", client_rule, "not a domain: letters, digits, dots and hyphens"),
        (b'"mail.example.com"', client_rule, "not a domain: letters, digits, dots and hyphens"),
        (b"b@example.org", client_rule, "a mail address: whitelist_recipients is for these"),
        (b"postmaster@", client_rule, "a mail address: whitelist_recipients is for these"),
        (b"192.0.2.7", recipient_rule, "an address of a machine: whitelist_clients is for these"),
        (b"2001:db8::1", recipient_rule, "an address of a machine: whitelist_clients is for these"),
        (b"192.0.2.0/24", recipient_rule,
         "an address of a machine: whitelist_clients is for these"),
        (b"10", client_rule, "one octet alone: write 10.0.0.0/8 if it is a network"),
        ("j\u00f6rg.example".encode(), client_rule,
         "not a name of a host, which is ASCII: write its form with xn--"),
        (b"/^mail\\.example\\.com$/", rule,
         ("this is whitelist_clients' form: write client_name=^mail\\.example\\.com$ or "
          "recipient=^mail\\.example\\.com$")),
        (b"192.0.2.9-192.0.2.1", client_rule, "not a range from an address to a higher one"),
        (b"192.0.2.1,mx.example.com", client_rule,
         "names and addresses in one line: write a line for each"),
        (b"*", client_rule, "matches everybody"),
        (b"client_name=", rule, "matches everybody"),
        (b"client_name = mx", rule, "white space beside the equals sign"),
        (b"/^j\xf6$/", rule,
         "this is whitelist_clients' form: write client_name=^j\\xf6$ or recipient=^j\\xf6$"),
        (b"client_address=192.0.2.1.", rule, "neither an address nor a network"),
        (b"client_address=192.0.2.1-x", rule, "not a range from an address to a higher one"),
        (b"client_address=x-192.0.2.1", rule, "not a range from an address to a higher one"),
        (b"client_name=*X.a*\\.example", rule,
         "begins with *: write client_name=X\\.a.*\\.example$"),
        (b"client_name=*\xff.example", rule,
         "begins with *: write client_name=\\xff\\.example$"),
        (b"client_name=**", rule, "begins with *: write client_name=^REGEX"),
        (b"all", client_rule, "matches nobody: no host has such a name"),
        (b"example-.com", client_rule, "matches nobody: no host has such a name"),
        (b"any", client_rule, "matches nobody: no host has such a name"),
        (b"-example.com", client_rule, "matches nobody: no host has such a name"),
        (b"example..com", client_rule, "matches nobody: no host has such a name"),
        (b"sender=^a@", client_rule, "this is nogreylist's form: whitelist is for such files"),
        (b"recipient=^a@", recipient_rule,
         "this is nogreylist's form: whitelist is for such files"),
        (b"client_name=*.example.com", rule, "begins with *: write client_name=\\.example\\.com$"),
        (b"*.example.com", rule, "begins with *: write client_name=\\.example\\.com$"),
        (b"*@example.com", rule, "begins with *: write recipient=@example\\.com$"),
        (b"mailto:b@example.org", recipient_rule,
         "not a user: only in quotes may it have such a character"),
        (b"b@example.org;c@example.org", recipient_rule,
         "not a user: only in quotes may it have such a character"),
        (b"<b@example.org", recipient_rule,
         "not a user: only in quotes may it have such a character"),
        (b'""@example.org', recipient_rule,
         "not a user: only in quotes may it have such a character"),
        (b"b@example.org c@example.org", recipient_rule, "not a user or a domain"),
        (b"/b@example.org", recipient_rule, "not a user or a domain"),
        (b"b@exam;ple.org", recipient_rule, "not a domain"),
        (b"b@.example.org", recipient_rule,
         "a user in all domains below one is written user@*.example.org"),
        (b".", recipient_rule, "matches everybody"),
        (b"*@*", recipient_rule, "matches everybody"),
        ("example.com\n".encode("utf-16"), client_rule,
         "the file is no text, or UTF-16: save it as UTF-8"),
    ],
)  # fmt: skip
def test_errors_say_the_way_out(line, form, reason):
    """What cannot be meant here is left out, with what to write."""
    assert Patterns(line, form).errors == [(1, reason)]
