"""The keys of a hub: made at the first start, never overwritten, never made anew over data that old ones sealed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hub.databases import databases, holds_sealed_data
from hub.installation import Installation
from hub.trouble import Trouble


@dataclass(frozen=True)
class Keys:
    """The key files of one installation."""

    master: Path
    tokens: Path
    signing: Path

    @classmethod
    def of(cls, hub: Installation) -> Keys:
        """The files that the environment names, or those below `HUB_HOME/keys`."""
        folder = hub.home / "keys"
        named = hub.environ.get
        return cls(
            master=Path(named("HUB_MASTER_KEY_FILE") or folder / "master.key"),
            tokens=Path(named("HUB_TOKEN_KEYS_DIR") or folder / "tokens"),
            signing=Path(named("GATEWAY_SIGNING_KEY_FILE") or folder / "gateway-signing.pem"),
        )

    def make_missing(self, hub: Installation) -> list[str]:
        """Make what is not there yet; return the names of what was made.

        Raises:
            Trouble: data exists that a missing master key has sealed, or a file cannot be written.
        """
        from chassis.context import make_signing_key
        from chassis.crypto import MasterKey, MasterKeyError

        made = []
        try:
            if not self.master.exists():
                self._refuse_over_data(hub)
                MasterKey.create(self.master)
                made.append("master key")
            if not self.signing.exists():
                make_signing_key(self.tokens, self.signing)
                made.append("signing key")
        except (MasterKeyError, OSError) as error:
            remedy = f"make {self.master.parent} writable for this user"
            raise Trouble(f"keys cannot be made ({error})", remedy) from error
        return made

    def _refuse_over_data(self, hub: Installation) -> None:
        trouble = self.lost(hub)
        if trouble is not None:
            raise trouble

    def lost(self, hub: Installation) -> Trouble | None:
        """Return the trouble of a missing master key that data was sealed under, else None."""
        sealed = [room for room, uri in databases(hub).items() if not self.master.exists() and holds_sealed_data(uri)]
        if not sealed:
            return None
        return Trouble(
            f"the master key {self.master} is missing, and the data of {', '.join(sealed)} is sealed under it",
            "restore the key from where you keep it apart from the backups; a new one would open nothing",
        )

    def problems(self) -> list[Trouble]:
        """Return what is wrong with the files: missing, damaged, readable by others, not belonging together."""
        from chassis.context import SigningKey
        from chassis.crypto import MasterKey, MasterKeyError
        from chassis.private import open_to_others

        found = []
        try:
            MasterKey.load(self.master)
        except MasterKeyError as error:
            found.append(Trouble(str(error), "follow the word above; hub up makes keys for an empty hub"))
        if not self.signing.exists():
            found.append(Trouble(f"{self.signing} does not exist", "run hub up, which makes it"))
            return found
        if open_to_others(self.signing):
            found.append(Trouble(f"{self.signing} may be read by others", f"chmod 600 {self.signing}"))
            return found
        try:
            kid = SigningKey.load(self.signing).kid
        except (OSError, ValueError) as error:
            found.append(Trouble(f"{self.signing} is damaged ({error})", "move it away and run hub up"))
            return found
        if not (self.tokens / f"{kid}.pub.pem").exists():
            text = f"{self.tokens} lacks the public half of the signing key"
            found.append(Trouble(text, f"move {self.signing} away and run hub up: it makes a new pair"))
        return found
