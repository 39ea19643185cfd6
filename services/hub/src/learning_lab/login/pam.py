"""One check of a password with PAM. It blocks the calling thread; callers provide the thread and a deadline.

Rules kept here:
- libpam never sleeps here: an application may supply its own function for the delay after a failure (PAM_FAIL_DELAY,
  pam_fail_delay(3)), and ours returns at once, whatever the service file says. Callers delay answers on the event loop;
- the account check follows in the same transaction: authentication alone accepts expired accounts (pamela#27);
- no sessions and no credentials (pam_setcred(3)): modules such as pam_group and pam_cap would change the groups and
  capabilities of the hub itself;
- an account with an empty password is refused (PAM_DISALLOW_NULL_AUTHTOK), also where a distribution says `nullok`;
- libpam falls back to the service `other` for one that is missing or incomplete, so `service_problem` looks first.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import pwd
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pamela

SERVICE_DIRECTORIES = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"))

# security/_pam_types.h; pamela has no names for them.
_FAIL_DELAY = 10
_DISALLOW_NULL_AUTHTOK = 0x0001
# PAM_OPEN_ERR, _SYMBOL_ERR, _SERVICE_ERR, _SYSTEM_ERR, _BUF_ERR, _ABORT, _MODULE_UNKNOWN
_BROKEN = frozenset({1, 2, 3, 4, 5, 26, 28})
_NEW_AUTHTOK_REQD, _ACCT_EXPIRED, _AUTHTOK_EXPIRED = 12, 13, 27

# PyDLL: it returns at once, so letting go of the interpreter's lock and waiting for it again would only cost time.
_set_item = ctypes.PyDLL(ctypes.util.find_library("pam"))["pam_set_item"]
_set_item.argtypes = [pamela.PamHandle, ctypes.c_int, ctypes.c_void_p]
_set_item.restype = ctypes.c_int


# What libpam calls after a failure instead of sleeping: (result, microseconds, data).
_do_not_sleep = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)(lambda *_: None)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attempt to log in.

    Attributes:
        outcome: for the metrics.
        reason: for the log; never a password.
        message: for the person; "" with "ok" and "wrong", where JupyterHub has its own words.
        retry_after: seconds until another try makes sense; 0 when waiting does not help.
        account: the account's own name, if there is an account.
        decided: seconds from the arrival until this was known; the answer may come later.
    """

    outcome: Literal["ok", "wrong", "limited", "refused", "error"]
    reason: str = ""
    message: str = ""
    retry_after: int = 0
    account: str | None = None
    decided: float = 0.0


def unavailable(reason: str) -> Result:
    """Nothing was learned about the password."""
    return Result("error", reason, "Your password cannot be checked at the moment. Try again in a minute.", 60)


# By what pam_acct_mgmt(3) returns; by then the password was right.
_PASSWORD_EXPIRED = "Your password has expired. Change it where you usually do, then log in here."  # noqa: S105
_ACCOUNT_PROBLEMS = {
    _ACCT_EXPIRED: "Your account has expired. Ask the people who look after the accounts.",
    _NEW_AUTHTOK_REQD: _PASSWORD_EXPIRED,
    _AUTHTOK_EXPIRED: _PASSWORD_EXPIRED,
}
_NOT_PERMITTED = "Your account may not log in here. Ask the people who look after the accounts."


def service_problem(service: str) -> str | None:
    """Say what is wrong with a PAM service.

    Args:
        service: its name.

    Returns:
        The end of a sentence that begins with the setting's name and value, or None when the service can be used.
    """
    if not re.fullmatch(r"[a-z0-9_.][a-z0-9_.-]*", service):
        return (
            "a PAM service is named by small letters, digits, dots, dashes and underscores (libpam lowers the others)"
        )
    file = next((path for path in (root / service for root in SERVICE_DIRECTORIES) if path.exists()), None)
    if file is None:
        places = " nor ".join(str(root / service) for root in SERVICE_DIRECTORIES)
        return f"there is neither {places}, and PAM would silently use the service 'other'"
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError as error:
        return f"{file} cannot be read ({error.strerror}), and PAM would silently use the service 'other'"
    kinds = {line.split()[0].lower().removeprefix("-") for line in lines if line.strip()}
    for kind in ("auth", "account"):
        if not kinds & {kind, "@include"}:
            return f"{file} has no line for {kind!r}, and PAM would silently take those of the service 'other'"
    return None


def account_name(name: str) -> str | None:
    """Find the account that a typed name stands for.

    Name services accept many spellings of one account (`Alice`, `LAB\\alice`). The lookup of its uid, and of the
    name of that uid, gives the one that counts. A name that is unknown as typed is tried in lower case, because
    telephones capitalise the first letter.

    Args:
        name: as typed.

    Returns:
        The account's own name, None when there is no such account.

    Raises:
        OSError: the name service fails.
    """
    for spelling in dict.fromkeys((name, name.lower())):
        try:
            return pwd.getpwuid(pwd.getpwnam(spelling).pw_uid).pw_name
        except (KeyError, ValueError):
            continue
    return None


def check_password(service: str, name: str, passwords: tuple[str, ...], address: str, encoding: str = "utf8") -> Result:
    """Check a password and the account. PAM's errors become part of the result.

    Args:
        service: the PAM service.
        name: the user id as typed.
        passwords: the answers to the prompts in their order: the password, then a one-time password if there is one.
            No NUL in any of them (C ends a string there).
        address: where the attempt comes from; modules see it as PAM_RHOST.
        encoding: of name and passwords.

    Raises:
        OSError: the name service fails.
    """
    account = account_name(name)
    result = _check(service, account or name, passwords, address, encoding)
    if not account and result.outcome in {"ok", "refused"}:
        return Result("wrong", "PAM takes the password, but there is no such account on this machine")
    return replace(result, account=account)


def _check(service: str, name: str, passwords: tuple[str, ...], address: str, encoding: str) -> Result:
    try:
        conversation = pamela.new_simple_password_conv(passwords, encoding)
        handle = pamela.pam_start(service, name, conv_func=conversation, encoding=encoding)
    except pamela.PAMError as error:
        return unavailable(str(error))
    except UnicodeEncodeError as error:
        return Result("wrong", f"not {error.encoding}")
    code = pamela.PAM_SUCCESS
    try:
        _set_item(handle, _FAIL_DELAY, _do_not_sleep)
        if address:
            _set_item(handle, pamela.PAM_RHOST, address.encode())
        code = authenticated = pamela.PAM_AUTHENTICATE(handle, _DISALLOW_NULL_AUTHTOK)
        if authenticated == pamela.PAM_SUCCESS:
            code = pamela.PAM_ACCT_MGMT(handle, _DISALLOW_NULL_AUTHTOK)
        if code == pamela.PAM_SUCCESS:
            return Result("ok")
        reason = f"PAM error {code}: {pamela.PAMError(errno=code).message}"
        if code in _BROKEN:
            return unavailable(reason)
        if authenticated != pamela.PAM_SUCCESS:
            return Result("wrong", reason)
        return Result("refused", reason, _ACCOUNT_PROBLEMS.get(code, _NOT_PERMITTED))
    finally:
        pamela.PAM_END(handle, code)
