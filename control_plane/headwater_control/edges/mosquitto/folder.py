"""mosquitto's files on disk, and who may read them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_wire import durable

from headwater_control.edges.mosquitto import rendering
from headwater_control.edges.mosquitto.rendering import Plan


@dataclass(frozen=True, slots=True)
class Folder:
    """A mosquitto's folder. `group` is the broker's, if it runs as another user than we; "": it runs as we do."""

    path: Path
    group: str = ""

    def write(self, plan: Plan, *, identity: bytes, issuer: bytes, root: bytes, crl: bytes) -> None:
        """Write all, but for the dynamic security plugin's state and a list of revoked certificates that still holds.

        `identity` is the broker's key and chain, `crl` an empty list; all in PEM. Raises `OSError` or `LookupError`.
        """
        self._make(self.path, 0o2750)
        self._make((self.path / rendering.DYNAMIC).parent, 0o2770)  # the plugin replaces its file
        self._put(rendering.ACL, rendering.acl().encode())
        # A chain must end at a root, so the root is here too; that only our issuer's are let in is the CRL's doing.
        self._put(rendering.CA, issuer if issuer == root else issuer + root)
        if not self._listed(issuer):
            self._put(rendering.CRL, crl)
        if not (self.path / rendering.DYNAMIC).exists():
            self._put(rendering.DYNAMIC, rendering.dynamic_security().encode(), private=True, mode=0o660)
        self._put(rendering.IDENTITY, identity, private=True, mode=0o640)
        self._put(rendering.CONFIGURATION, rendering.configuration(plan).encode())

    def _listed(self, issuer: bytes) -> bool:
        """Say whether there is a list by this issuer: an empty one in its place would let in who is shut out."""
        key = x509.load_pem_x509_certificate(issuer).public_key()
        try:
            crl = x509.load_pem_x509_crl((self.path / rendering.CRL).read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        return isinstance(key, ec.EllipticCurvePublicKey) and crl.is_signature_valid(key)

    def _make(self, folder: Path, mode: int) -> None:
        durable.make_dirs(folder, private=True)
        if self.group:
            shutil.chown(folder, group=self.group)
            folder.chmod(mode)

    def _put(self, name: str, data: bytes, *, private: bool = False, mode: int = 0o644) -> None:
        file = self.path / name
        durable.write(file, data, private=private)
        if self.group:
            shutil.chown(file, group=self.group)
        if self.group or not private:
            file.chmod(mode)
