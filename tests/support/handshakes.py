"""TLS handshakes of the standard library, in memory: who is believed by whom, with no socket between."""

import ssl
import tempfile


def client(root: bytes, key_and_chain: bytes = b"") -> ssl.SSLContext:
    """Make a client's context that believes a root (PEM), with a certificate of its own if given."""
    context = ssl.create_default_context(cadata=root.decode("ascii"))
    if key_and_chain:
        load(context, key_and_chain)
    return context


def server(key_and_chain: bytes, anchors: bytes = b"") -> ssl.SSLContext:
    """Make a server's context that asks for certificates beneath the anchors (PEM), if given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load(context, key_and_chain)
    if anchors:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=anchors.decode("ascii"))
    return context


def load(context: ssl.SSLContext, key_and_chain: bytes) -> None:
    """Put a key and its chain (PEM) in."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(key_and_chain)
        file.flush()
        context.load_cert_chain(file.name)


def shake(ours: ssl.SSLContext, theirs: ssl.SSLContext, host: str = "localhost") -> tuple[bytes, bytes]:
    """Shake hands; give the server's and the client's certificate (DER, empty: none). Raise `ssl.SSLError`."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = ours.wrap_bio(down, up, server_hostname=host)
    there = theirs.wrap_bio(up, down, server_side=True)
    waiting = [here, there]
    for _ in range(10):
        for side in tuple(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            return here.getpeercert(binary_form=True) or b"", there.getpeercert(binary_form=True) or b""
    raise AssertionError("the handshake does not end")
