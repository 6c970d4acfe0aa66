"""Ray's token of this account, `~/.ray/auth_token`: whoever has it runs code as this account.

Ray 2.60 writes it with the permissions that new files have, mostly 0644. So it is made here, before Ray looks for it,
and one that is there is taken from the others.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cluster.storage import write_atomically

_OTHERS = 0o077
_BYTES = 32


def keep_token() -> Path:
    """The token's file, made if there is none, for this account alone; one that two processes make is one."""
    file = Path.home() / ".ray" / "auth_token"
    try:
        status = file.stat()
    except FileNotFoundError:
        draft = file.with_name(f".auth_token-{secrets.token_hex(8)}")
        write_atomically(draft, secrets.token_hex(_BYTES), mode=0o600)
        try:
            os.link(draft, file)
        except FileExistsError:
            pass  # another process was quicker: its token counts
        finally:
            draft.unlink()
        return file
    if status.st_mode & _OTHERS and status.st_uid == os.getuid():
        file.chmod(0o600)
    return file
