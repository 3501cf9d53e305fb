"""Connects to a Ray cluster or fails within a minute. Ray itself retries for up to a quarter of an hour."""

from __future__ import annotations

import logging
import os
import socket
import time
from contextlib import nullcontext
from pathlib import Path

from gansweep.errors import ClusterError, one_line
from gansweep.search.loopback import is_loopback, on_loopback

__all__ = ["cluster_is_up", "connect", "silence_of"]

log = logging.getLogger(__name__)

_ATTEMPTS = 2
_PAUSE_S = 2.0
_ANSWER_S = 15.0  # limit for a cluster's head to accept a connection, and to answer
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable that Ray's job server sets for the entrypoint of a job."""
_CLIENT = "ray://"
_ASKED = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""What Ray's client asks of a head first."""
_UNKNOWN_HERE = "this process does not have its token"
_LASTING = {
    _UNKNOWN_HERE: "set RAY_AUTH_MODE=token, and copy the cluster's token to ~/.ray/auth_token or set RAY_AUTH_TOKEN",
    "Version mismatch": "install what the cluster has, or run the command there (gansweep submit)",
}
"""Beginnings of reasons that another attempt does not change, with what the user can do."""
_HERE = Path("/tmp/ray/ray_current_cluster")  # noqa: S108 (where `ray start` leaves this machine's address)

# Ray uses gRPC over HTTP/2. A server answers the client's preface and empty SETTINGS frame with a SETTINGS frame.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_FRAME_HEADER = 9  # bytes
_KIND = 3  # index of the frame type in the header
_SETTINGS = 4


def connect() -> None:
    """Calls `ray.init` for the cluster in RAY_ADDRESS, else for the one that Ray finds, else for this machine.

    A Ray that is started on this machine listens only there.

    Raises:
        ClusterError: the cluster does not respond or cannot be started, after two attempts; or it refuses this process.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    address = _found(given)
    listens_here_alone = not cluster_is_up() or _is_on_loopback(address or _address_here())
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            log.warning("no Ray cluster yet (%s); trying once more", reason)
            time.sleep(_PAUSE_S)
        reason = silence_of(address) if address else _silence_here()
        reason = reason or _refusal(address or _address_here(), found=given in ("", "auto"))
        with on_loopback() if listens_here_alone else nullcontext():
            reason = reason or _initialised()
        if not reason:
            return
        for lasting, fix in _LASTING.items():
            if reason.startswith(lasting):
                raise ClusterError(f"no Ray cluster: {reason}", where=address, fix=fix)
    raise ClusterError(f"no Ray cluster: {reason}", where=address, fix="see gansweep doctor")


def cluster_is_up() -> bool:
    """Returns whether `connect` would join a cluster. Otherwise it would start one on this machine."""
    import ray

    address = os.environ.get("RAY_ADDRESS", "")
    if ray.is_initialized() or address not in ("", "local"):
        return True
    here = _address_here()
    return not address and bool(here) and not silence_of(here)


def _found(address: str) -> str:
    """Returns the address of the cluster that Ray takes for `auto`, if there is one. Others stay as they are."""
    if address != "auto":
        return address
    from ray._private.services import get_ray_address_from_environment

    try:
        return str(get_ray_address_from_environment("auto", None))
    except ConnectionError:  # Ray will say so
        return address


def _is_on_loopback(address: str) -> bool:
    """Returns whether a cluster's head answers at a loopback address of this machine, and not at the machine's own."""
    from ray.util import get_node_ip_address

    host, _, port = address.rpartition(":")
    if not is_loopback(host) or silence_of(address):
        return False
    return bool(silence_of(f"{get_node_ip_address()}:{port}"))


def _initialised() -> str:
    """Connects or starts Ray. Returns the reason of a failure, or an empty string."""
    import ray

    try:
        context = ray.init(
            include_dashboard=None, log_to_driver=False, logging_level=logging.ERROR, runtime_env=_own_code()
        )
    except Exception as error:  # Ray raises a bare Exception where a local start takes more than 30 s
        ray.shutdown()
        return one_line(error, 200) or type(error).__name__
    if context.dashboard_url:
        log.info("Ray dashboard: http://%s", context.dashboard_url)
    return ""


def _own_code() -> dict[str, list[str]] | None:
    """Returns the runtime environment that brings this package to the workers of a job, or None if not needed.

    A job's working directory is on its workers' path. In a checkout, however, the package is in the subfolder
    `platform/`, and the workers would use an installed version.
    """
    package = Path(__file__).resolve().parents[1]
    in_checkout = package == Path.cwd().resolve() / "platform" / package.name
    return {"py_modules": [str(package)]} if _JOB in os.environ and in_checkout else None


def silence_of(address: str) -> str:
    """Returns why the head of a cluster cannot be reached, or an empty string.

    Ray's own client would wait, or end this process.

    Args:
        address: `HOST:PORT`, also after `ray://`. Others, such as `auto`, are taken to be reachable.
    """
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not port.isdecimal():
        return ""  # "auto", or an address that Ray itself rejects
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S) as stream:
            return "" if os.environ.get("RAY_USE_TLS") == "1" else _answer(stream)
    except OSError as error:
        return f"nothing answers there: {error.strerror or error}"
    except (ValueError, OverflowError) as error:  # a host or a port that cannot be
        return f"it is no address: {one_line(error, 100)}"


def _refusal(address: str, *, found: bool) -> str:
    """Returns why the head of a cluster refuses this process, or an empty string.

    Ray's own client would try again for 20 s, with a line for each try, and then say that it failed to connect.

    Args:
        address: as for `silence_of`. A proxy of Ray clients is not asked.
        found: whether Ray finds the cluster itself. It then uses this machine's token, if there is one.
    """
    if not address.rpartition(":")[2].isdecimal() or address.startswith(_CLIENT) or silence_of(address):
        return ""
    import grpc
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    from ray._private.grpc_utils import init_grpc_channel

    if found:
        logging.getLogger("ray").setLevel(logging.ERROR)  # as `ray.init` does next; the token is no news
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)

    with init_grpc_channel(address) as channel:
        try:
            channel.unary_unary(_ASKED)(b"", timeout=_ANSWER_S)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return _UNKNOWN_HERE
    return ""


def _silence_here() -> str:
    """Does the same as `silence_of` for a cluster that was started on this machine. Ignores one that has ended."""
    reason = silence_of(_address_here())
    return "" if reason.startswith("nothing answers") else reason


def _address_here() -> str:
    """Returns the address that `ray start` left on this machine, or an empty string."""
    try:
        return _HERE.read_text().strip()
    except OSError:  # there is none, or it is another user's
        return ""


def _answer(stream: socket.socket) -> str:
    """Returns what is wrong with a server's answer to a gRPC client, or an empty string."""
    stream.sendall(_HELLO)
    try:
        header = stream.recv(_FRAME_HEADER, socket.MSG_WAITALL)
    except TimeoutError:
        return f"it accepts connections and has not answered for {_ANSWER_S:g} s"
    if len(header) < _FRAME_HEADER or header[_KIND] != _SETTINGS:
        return "what listens there is no Ray cluster"
    return ""
