"""The credentials for a server: the files with the password and the certificates."""

from __future__ import annotations


class Secrets:
    """The files behind a connection: the password, and those of TLS.

    Each is read when a connection is made, so a changed one needs no restart.

    Attributes:
        password, ca, certificate: paths, empty for none.
    """

    __slots__ = ("ca", "certificate", "password")

    def __init__(self, password: str = "", ca: str = "", certificate: str = "") -> None:
        self.password = password
        self.ca = ca
        self.certificate = certificate
