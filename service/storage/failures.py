"""What the failures of a disk mean to who asked for something to be stored."""

import errno

from service.errors import Overloaded, StorageFailed, StorageFull

FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
BUSY_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Not the disk's fault: too much is going on."""

RETRY_AFTER_S = 5


def failure_of(error: OSError, what: str) -> Overloaded | StorageFull | StorageFailed:
    """What is to be answered when the disk did not store `what`."""
    if error.errno in BUSY_ERRORS:
        return Overloaded("The service has no more files or memory at the moment.", retry_after=RETRY_AFTER_S)
    if error.errno in FULL_ERRORS:
        return StorageFull(f"The disk has no room for {what}.")
    return StorageFailed(f"The disk failed to store {what}.")
