"""What the gateway can be told, beside what every room can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chassis.config import Settings, setting


@dataclass(frozen=True, kw_only=True)
class GatewaySettings(Settings):
    """Settings of the HTTP door."""

    max_workers: int = setting(64, env="MAX_WORKERS_{ROOM}", least=1, most=1000,
                               doc="Requests that this process works on at once; reading a request takes no worker.")
    listen: str = setting("127.0.0.1:8080", env="GATEWAY_LISTEN",
                          doc="host:port of the HTTP door; port 0 takes any free one. Put TLS in front of it.")
    public_url: str = setting("", env="GATEWAY_PUBLIC_URL",
                              doc="Address under which clients reach the gateway, for the API document.")
    time_zone: str = setting("UTC", env="HUB_TIME_ZONE",
                             doc="IANA name of the company's time zone, such as Asia/Shanghai: when its days end.")
    signing_key_file: Path = setting(  # noqa: RUF009 (declares a field)
        Path("{home}/keys/gateway-signing.pem"), env="GATEWAY_SIGNING_KEY_FILE",
        doc="Ed25519 private key that signs the context token of every call.")
    max_connections: int = setting(900, env="GATEWAY_MAX_CONNECTIONS", least=1, most=100_000,
                                   doc="Open client connections; one more is answered 503 and closed.")
    max_body_bytes: int = setting(1_048_576, env="GATEWAY_MAX_BODY_BYTES", unit="bytes", least=1024, most=104_857_600,
                                  doc="Largest request body; more is answered 413.")
    max_json_depth: int = setting(32, env="GATEWAY_MAX_JSON_DEPTH", least=2, most=200,
                                  doc="Deepest nesting of arrays and objects in a body; more is answered 400.")
    header_timeout_s: float = setting(10.0, env="GATEWAY_HEADER_TIMEOUT_S", unit="s", least=0.05, most=120,
                                      doc="Time for a client to send the request line and all headers.")
    body_timeout_s: float = setting(20.0, env="GATEWAY_BODY_TIMEOUT_S", unit="s", least=0.05, most=600,
                                    doc="Time for a client to send the whole body.")
    idle_timeout_s: float = setting(75.0, env="GATEWAY_IDLE_TIMEOUT_S", unit="s", least=0.05, most=3600,
                                    doc="How long a kept-alive connection may wait for its next request.")
    write_timeout_s: float = setting(30.0, env="GATEWAY_WRITE_TIMEOUT_S", unit="s", least=0.05, most=600,
                                     doc="How long one write to a client that does not read may wait.")
    queue_timeout_s: float = setting(1.5, env="GATEWAY_QUEUE_TIMEOUT_S", unit="s", least=0.05, most=60,
                                     doc="How long a request waits for a free worker before it is answered 503.")
    introspection_cache_s: float = setting(0.5, env="GATEWAY_INTROSPECTION_CACHE_S", unit="s", least=0.0, most=0.5,
                                           doc="How long the answer to `who is this` is reused; 0 asks every time.")
    introspection_cache_size: int = setting(10_000, env="GATEWAY_INTROSPECTION_CACHE_SIZE", least=1, most=1_000_000,
                                            doc="Most credentials whose answer is held at once; as many are counted.")
    limit_requests: int = setting(1000, env="GATEWAY_LIMIT_REQUESTS", least=1, most=1_000_000_000,
                                  doc="Requests that one user or API key may send in a window; more are answered 429.")
    limit_anonymous: int = setting(300, env="GATEWAY_LIMIT_ANONYMOUS", least=1, most=1_000_000_000,
                                   doc="Requests without a known credential that one address may send in a window.")
    limit_window_s: int = setting(10, env="GATEWAY_LIMIT_WINDOW_S", unit="s", least=1, most=3600,
                                  doc="Time in which a quota that is used up is whole again; it refills evenly.")
    limit_at_once: int = setting(8, env="GATEWAY_LIMIT_AT_ONCE", least=1, most=1000,
                                 doc="Requests of one client that are worked on at once; more wait for their turn.")
    cors_origins: tuple[str, ...] = setting((), env="GATEWAY_CORS_ORIGINS",
                                            doc="Origins whose pages may call the API, such as https://crm.example.")
    trusted_proxies: int = setting(0, env="GATEWAY_TRUSTED_PROXIES", least=0, most=10,
                                   doc="Reverse proxies in front; the client's address is that many from the right of "
                                       "X-Forwarded-For.")
