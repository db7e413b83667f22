"""A step-ca that is a few lines: it takes the same requests, and refuses the same, as the real one."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from headwater_control.edges.ca import profiles
from headwater_control.edges.ca.authority import key_pem
from joserfc import jwt
from joserfc.errors import JoseError

from tests.step_ca.company import DEFAULT, ISSUING, PROVISIONER, RENAMING, Company

_PEM = serialization.Encoding.PEM
_USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


class _Refused(Exception):
    """What it says to a request that it does not fulfil."""


class _Signs:
    """Decides, and signs."""

    def __init__(self, company: Company) -> None:
        self._company = company
        self._spent: set[str] = set()
        self.url = ""

    def sign(self, body: dict[str, str]) -> dict[str, str]:
        """Answer `POST /1.0/sign`."""
        claims = self._claims(body["ott"])
        csr = x509.load_pem_x509_csr(body["csr"].encode())
        if csr.subject and csr.subject != profiles.name(claims["sub"]):
            raise _Refused("The request was forbidden by the certificate authority: certificate request.")
        begins, ends = (datetime.fromisoformat(body[name]) for name in ("notBefore", "notAfter"))
        if ends - begins > timedelta(hours=self._company.rules.most_hours):
            raise _Refused("The request was forbidden by the certificate authority: requested duration.")
        made = self._made(csr, claims, begins, ends)
        return {"crt": made.public_bytes(_PEM).decode(), "ca": self._company.issuer.public_bytes(_PEM).decode()}

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(token, self._company.provisioner, algorithms=["ES256"]).claims
            jwt.JWTClaimsRegistry(
                iss={"essential": True, "value": PROVISIONER},
                aud={"essential": True, "value": f"{self.url}/1.0/sign"},
                exp={"essential": True},
            ).validate(claims)
        except JoseError as error:
            raise _Refused("The request lacked necessary authorization to be completed.") from error
        if claims["jti"] in self._spent or claims["exp"] - claims["iat"] > 300:
            raise _Refused("The request lacked necessary authorization to be completed.")
        self._spent.add(claims["jti"])
        return claims

    def _made(
        self, csr: x509.CertificateSigningRequest, claims: dict[str, Any], begins: datetime, ends: datetime
    ) -> x509.Certificate:
        issuer, key = self._company.issuer, csr.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        template, names = self._company.rules.template, [_name(text) for text in claims["sans"]]
        common = "whatever" if template == RENAMING else claims["sub"]
        usages = _USAGES if template == DEFAULT else [profiles.usage(server=not _is_uri(names[0]))]
        builder = (
            x509.CertificateBuilder()
            .subject_name(profiles.name(common))
            .issuer_name(issuer.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(
                x509.ExtendedKeyUsage(usages),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=template == ISSUING, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._company.key.public_key()), critical=False
            )
        )
        return builder.sign(self._company.key, hashes.SHA256())


def _is_uri(name: x509.GeneralName) -> bool:
    return isinstance(name, x509.UniformResourceIdentifier)


def _name(text: str) -> x509.GeneralName:
    if text.startswith("urn:"):
        return x509.UniformResourceIdentifier(text)
    return profiles.server_names([text])[0]


@contextmanager
def fake_step_ca(company: Company) -> Iterator[str]:
    """Serve while the context lasts; give the address."""
    signs = _Signs(company)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            shown = self.connection.getpeercert()
            try:
                if self.path == "/1.0/renew" and not (shown and company.rules.renewal):
                    raise _Refused("The request lacked necessary authorization to be completed.")
                status, answer = 201, {} if self.path == "/1.0/renew" else signs.sign(body)
            except _Refused as refused:
                status, answer = 403, {"message": str(refused)}
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = _context(company).wrap_socket(server.socket, server_side=True)
    signs.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield signs.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _context(company: Company) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    names = profiles.server_names(["127.0.0.1"])
    asked = profiles.wanted(company.issuer, "step-ca", names, datetime.now(UTC), server=True)
    made = profiles.leaf(company.issuer, company.key, key.public_key(), asked)
    file = company.folder / "step-ca.pem"
    file.write_bytes(key_pem(key) + made.public_bytes(_PEM) + company.issuer.public_bytes(_PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(company.folder / "chain.pem")
    return context
