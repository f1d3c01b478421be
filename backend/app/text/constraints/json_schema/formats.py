"""Formats of strings as regular expressions, each narrower than the standard where its validators differ."""

from __future__ import annotations

YEAR = r"(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])"
LEAP = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
DAYS = r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
DATE = rf"(?:{YEAR}-{DAYS}|{LEAP}-02-29)"
CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d"
TIME = rf"{CLOCK}:[0-5]\d(?:\.\d{{1,6}})?(?:Z|[+-]{CLOCK})"
LABEL = r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,30}"
DOMAIN = rf"(?:{LABEL}\.){{1,3}}[A-Za-z]{{2,12}}"
OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
IPV4 = rf"{OCTET}(?:\.{OCTET}){{3}}"
GROUP = r"[0-9A-Fa-f]{1,4}"
IPV6 = "|".join(
    [
        rf"{GROUP}(?::{GROUP}){{7}}",
        *(
            rf"(?:{GROUP}(?::{GROUP}){{0,{left - 1}}})?::(?:{GROUP}(?::{GROUP}){{0,{6 - left}}})?"
            for left in range(1, 7)
        ),
    ]
)
"""Eight groups, or at most six with two colons among them: a::b has up to five groups before or behind them."""
SEGMENT = r"[A-Za-z0-9._~-]"
PATH = rf"(?:/{SEGMENT}{{0,64}}){{0,8}}"
QUERY = rf"\?{SEGMENT}{{1,32}}=(?:{SEGMENT}|[&=]){{0,256}}"
NUMBER = r"\d{1,4}"
CLOCK_DURATION = rf"T(?:{NUMBER}H(?:{NUMBER}M(?:{NUMBER}S)?)?|{NUMBER}M(?:{NUMBER}S)?|{NUMBER}S)"
DATE_DURATION = rf"(?:{NUMBER}Y(?:{NUMBER}M(?:{NUMBER}D)?)?|{NUMBER}M(?:{NUMBER}D)?|{NUMBER}D)"
BASE64 = r"(?:[{0}]{{4}})*(?:[{0}][AQgw]==|[{0}]{{2}}[AEIMQUYcgkosw048]=)?"
"""Groups of four characters, the last one filled up; the bits that are left over are zero."""


def _uuid(version: str) -> str:
    return rf"[0-9a-fA-F]{{8}}-[0-9a-fA-F]{{4}}-{version}[0-9a-fA-F]{{3}}-[89abAB][0-9a-fA-F]{{3}}-[0-9a-fA-F]{{12}}"


FORMATS = {
    "date": DATE,
    "time": TIME,
    "date-time": rf"{DATE}T{TIME}",
    "uuid": r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "email": rf"[A-Za-z0-9](?:[._+-]?[A-Za-z0-9]){{0,30}}@{DOMAIN}",
    "hostname": rf"(?:{LABEL}\.){{0,3}}[A-Za-z](?:-?[A-Za-z0-9]){{0,30}}",
    "ipv4": IPV4,
    "ipv6": IPV6,
    "uri": rf"https?://{DOMAIN}(?::[1-9]\d{{0,3}})?{PATH}(?:{QUERY})?(?:#{SEGMENT}{{0,64}})?",
    "decimal": r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,9})?",
    "duration": rf"P(?:{NUMBER}W|{DATE_DURATION}(?:{CLOCK_DURATION})?|{CLOCK_DURATION})",
    "base64": BASE64.format("A-Za-z0-9+/"),
    "base64url": BASE64.format("A-Za-z0-9_-"),
    **{f"uuid{version}": _uuid(str(version)) for version in range(1, 9)},
}
"""The expression of each format that is honoured; a text has the format where the whole of it matches."""
ANY_TEXT = frozenset({"binary", "password", "path"})
"""Formats that every text has: they say what it is for."""
ENCODINGS = ("base64", "base64url")
"""Encodings of contents that are honoured, as the formats of these names."""
