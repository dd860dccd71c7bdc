"""Usage: mail.py CODE CLIENT: send a recipient as this client; the reply must have this code."""

import smtplib
import sys

code, client = int(sys.argv[1]), sys.argv[2]
with smtplib.SMTP("127.0.0.1", 25, "client.example.com", timeout=60) as smtp:
    smtp.ehlo()
    reply = smtp.docmd("XCLIENT", f"ADDR={client} NAME=[UNAVAILABLE]")
    if reply[0] != 220:
        sys.exit(f"XCLIENT: {reply}")
    smtp.ehlo()
    smtp.mail("a@example.com")
    found = smtp.rcpt("root@mx.example.org")
    if found[0] != code:
        sys.exit(f"{client}: {found}, not {code}")
