"""Serves AWS on one loopback port: `python -m infra.local.serve [--port 4566] [--scale 0]`."""

import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
import tempfile

ACCOUNT = "000000000000"

# Longer than any client keeps a connection that it doesn't use, seconds.
KEEP_ALIVE = 75


def main() -> None:
    """Runs the server until SIGTERM or SIGINT."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="plinth-local-") as scratch:
        prepare_environment(options.port, scratch)
        asyncio.run(serve(options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local.serve", description=__doc__)
    parser.add_argument("--port", type=int, default=int(os.environ.get("PLINTH_LOCAL_PORT", "4566")))
    parser.add_argument("--scale", type=float, default=0.0,
                        help="what share of AWS's time resources take to become ready (0: none)")
    parser.add_argument("--waits", type=float, default=1.0,
                        help="what share of their written time state machines wait (1: all of it)")
    return parser.parse_args()


def prepare_environment(port: int, scratch: str) -> None:
    """Both emulators read their settings from the environment when they are imported."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "MOTO_", "MINISTACK_"))]:
        del os.environ[name]
    os.environ.update({
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        # Functions inherit it: it is how they find this server.
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_HOST": "127.0.0.1",
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "SFTP_ENABLED": "0",
        "TMPDIR": scratch,
    })
    tempfile.tempdir = scratch


async def serve(options: argparse.Namespace) -> None:
    import uvicorn

    from . import app

    server = uvicorn.Server(uvicorn.Config(
        app.build(options.scale, options.waits), host="127.0.0.1", port=options.port, log_level="warning",
        http="httptools", ws="none", access_log=False, server_header=False, proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=1))
    # The server passes a signal on when it has ended by it, which then is too late to end anything.
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, lambda: None)
    # What an account holds is much, and hardly ever garbage: looking through all of it takes seconds.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    announcing = asyncio.create_task(announce(options.port))
    try:
        await server.serve()
    finally:
        announcing.cancel()
        app.stop()


async def announce(port: int) -> None:
    """Says so, once, when the port answers."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                print(f"AWS answers on http://127.0.0.1:{port}", flush=True)
                return
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
