//! The configuration file as it is written: every key, its form and its default. This is the reference.
//!
//! In any value, `${NAME}` is replaced by an environment variable and `${NAME:-default}` by a default where that
//! is not set or empty; `$${` is a plain `${`. A key that is not listed here is an error, and so is a key twice.
//! Durations are written `500ms`, `60s`, `5m`, `1h 30m`; sizes as bytes, or `10MiB`, `32MB`, `64KiB`.

mod message;

use super::file::Node;
use super::problem::{Place, Spanned};
use super::read::{Adapt, FromNode, Named, Reader, Scalar, section};

pub(super) use self::message::{Hmac, Playback, Reply, Webhook};

/// Several values of one kind.
pub(super) type List<T> = Vec<Spanned<T>>;

section! {
    /// The whole file.
    struct File {
        /// Version of this format: `1`. Required.
        version: u64,
        /// Address of the public listener, `IPv4:PORT` or `[IPv6]:PORT`. HTTP/1.1 and h2c share it.
        /// Default: `0.0.0.0:${PORT:-8080}`.
        listen: Scalar,
        /// TLS on `listen`, for a gateway without a front end that ends it. Default: none; `listen` is in the clear.
        tls: ListenerTls,
        /// How callers name the gateway: an `https` origin without path (`http` only for localhost and loopback
        /// addresses). Used for the redirect URI and as the audience of service accounts' ID tokens.
        /// Default: none; origins then come from `Host`, and ID tokens of service accounts are refused.
        public_url: String,
        /// Address of the operators' listener for metrics and health. Default: none.
        admin: Scalar,
        /// How many proxies in front of the gateway append to `X-Forwarded-For` and are believed: 0 to 8.
        /// Default: 1 on Cloud Run (where `K_SERVICE` is set), else 0.
        trusted_hops: u64,
        /// Risks that are meant: the names of warnings that `check` then leaves out. Default: none.
        accept_risks: List<String>,
        /// Logging.
        log: Log,
        /// Export of traces. Default: none.
        traces: Traces,
        /// Whose tokens are accepted, and where Google is reached. Required as soon as a location has
        /// `access: google`.
        google: Google,
        /// Sign-in of people.
        login: Login,
        /// Who passes `access: google`, unless a location has its own list.
        allow: Allow,
        /// How long verified facts are kept.
        cache: Cache,
        /// Secrets by a name of letters, digits, `-` and `_`: where they are, never what they are. Each must be used.
        secrets: Named<Secret>,
        /// The services behind the gateway, by a name of letters, digits, `-` and `_`. Each must be used.
        upstreams: Named<Upstream>,
        /// Where messages are kept until the upstream has accepted them. Required as soon as a location has
        /// `wal: true`.
        wal: Wal,
        /// What callers may ask for.
        limits: Limits,
        /// Which requests are let through and where they go. At least one. The longest match wins, in any order.
        locations: List<Location>,
    }

    /// TLS on `listen`: versions 1.2 and 1.3, HTTP/2 and HTTP/1.1. The files are PEM; paths are relative to the
    /// configuration file. A renewed certificate is noticed within half a minute.
    struct ListenerTls {
        /// The certificate, then what leads to its authority. Required.
        certificate: String,
        /// The key of `certificate`. Required.
        key: String,
    }

    /// Logging.
    struct Log {
        /// `auto` (text on a terminal, else JSON), `text` or `json` (Cloud Logging). Default: `auto`.
        format: String,
        /// `off`, `error`, `warn`, `info`, `debug` or `trace`. Default: `info`.
        level: String,
        /// Which requests get a line of their own: `all`, `refused` or `none`. Default: `refused`.
        requests: String,
    }

    /// Export of traces, as OTLP over HTTP in JSON.
    struct Traces {
        /// The collector: an `https` URL without query, or `http` to a loopback address, such as
        /// `http://127.0.0.1:4318/v1/traces`. Required.
        endpoint: String,
        /// The share of requests that are recorded, of those whose callers do not say whether they are: 0 to 1.
        /// Default: `0.1`.
        sample: Scalar,
    }

    /// Whose tokens are accepted, and where Google is reached.
    struct Google {
        /// The OAuth web client of the gateway's sign-in, `….apps.googleusercontent.com`; it has no secret here.
        /// Required with `access: google` and with `accepted_clients`. The clients of gcloud and its application
        /// default credentials are refused, because any program on a developer's machine can get their tokens.
        client_id: String,
        /// Other OAuth clients whose tokens are accepted, in the same form. Default: none.
        accepted_clients: List<String>,
        /// Where Google is reached; seldom set.
        endpoints: Endpoints,
    }

    /// Where Google is reached: `https` URLs without query, or `http` to a loopback address.
    struct Endpoints {
        /// Where browsers sign in. Default: `https://accounts.google.com/o/oauth2/v2/auth`.
        authorization: String,
        /// Tells whom an access token belongs to. Default: `https://oauth2.googleapis.com/tokeninfo`.
        tokeninfo: String,
        /// Google's public keys. Default: `https://www.googleapis.com/oauth2/v3/certs`.
        certs: String,
        /// Revokes a token. Default: `https://oauth2.googleapis.com/revoke`.
        revocation: String,
        /// The metadata server, without path; `http` is also allowed to `metadata.google.internal` and
        /// `169.254.169.254`. Default: `GCE_METADATA_HOST` of the environment (`HOST` or `HOST:PORT`), else
        /// `http://metadata.google.internal`.
        metadata: String,
        /// Secret Manager, without path. Default: `https://secretmanager.googleapis.com`.
        secret_manager: String,
        /// Pub/Sub, without path. Default: `PUBSUB_EMULATOR_HOST` of the environment (`HOST:PORT`), else
        /// `https://pubsub.googleapis.com`.
        pubsub: String,
    }

    /// Sign-in of people.
    struct Login {
        /// What Google hands to the browser: `access_token` or `id_token`. Default: `access_token`.
        flow: String,
        /// OAuth scopes that are asked for. Must hold `email`, and `openid` with `flow: id_token`.
        /// Default: `[openid, email]`.
        scopes: List<String>,
        /// Name of the session cookie. Default: `__Host-portcullis`.
        cookie: String,
    }

    /// Who passes. A location's own list replaces the global one as a whole; the two are not merged.
    struct Allow {
        /// Domains of e-mail addresses, such as `example.com`; subdomains are not included. Default: none.
        domains: List<String>,
        /// Single e-mail addresses of people. Default: none.
        emails: List<String>,
        /// Service accounts by e-mail address, `…gserviceaccount.com`. No domain admits them. Default: none.
        service_accounts: List<String>,
        /// Compare `domains` with the token's `hd` claim, which only accounts of a Google Workspace carry, instead
        /// of the address. Only with `flow: id_token`. Default: `false`.
        workspace_only: bool,
    }

    /// How long verified facts are kept, at most a day; `0s` for not at all.
    struct Cache {
        /// How long a verified token is believed; never past its own expiry. Default: `60s`.
        verified: Scalar,
        /// How long a rejected token is remembered. Default: `10s`.
        rejected: Scalar,
        /// Entries of the cache of verified tokens, from 1 to 10000000. Default: `100000`.
        entries: u64,
    }

    /// Where a secret is. Exactly one of `secret_manager`, `file` and `env`.
    struct Secret {
        /// A version in Secret Manager: `projects/P/secrets/S/versions/latest`, or a number in place of `latest`; a
        /// regional one has `locations/L` after the project.
        secret_manager: String,
        /// A file; a relative path begins at the directory of the configuration. One line break at its end does not count.
        file: String,
        /// An environment variable.
        env: String,
        /// How long a value is used before it is read again, from `1s` to a day; it is also read again when a signature
        /// does not match. Not with `env`, nor with a version that is a number. Default: `5m`.
        refresh: Scalar,
    }

    /// Where messages are kept until the upstream has accepted them: `pubsub` or `disk`. A log that no location
    /// writes to is an error.
    struct Wal {
        /// In Google Pub/Sub.
        pubsub: PubSub,
        /// In a directory of this machine, which must keep its CPU and its disk between requests.
        disk: Disk,
        /// When delivery is tried again. Not with `push_account`, where Pub/Sub's subscription decides.
        retry: Retry,
    }

    /// A log in Pub/Sub. Entries come back by push (`push_account`, `push_audience`) or by pull (`subscription`).
    struct PubSub {
        /// `projects/P/topics/T`. Required.
        topic: String,
        /// The service account of the push subscription: the only caller of the playback endpoint.
        push_account: String,
        /// The audience of the push subscription's tokens: the only one that the playback endpoint accepts.
        push_audience: String,
        /// `projects/P/subscriptions/S` to pull from, for a gateway that Pub/Sub cannot reach.
        subscription: String,
        /// `projects/P/topics/D` for what no upstream takes. Default: none; such entries are logged and dropped.
        dead_letter_topic: String,
    }

    /// A log in a directory.
    struct Disk {
        /// The directory; made when it is missing. A relative path begins where the process does. Required.
        directory: String,
        /// Most that entries and dead letters may take, from `1MiB`; above it, senders get 503. Default: `1GiB`.
        max_size: Scalar,
    }

    /// When delivery is tried again, and when it is given up.
    struct Retry {
        /// Wait after the first failure, from `1s`; it doubles with each further one. Default: `1s`.
        first: Scalar,
        /// Longest wait, at most a day. Default: `10m`.
        longest: Scalar,
        /// Age at which an entry becomes a dead letter, at most 30 days. Default: `7d`.
        max_age: Scalar,
        /// Attempts after which an entry becomes a dead letter. Default: no limit.
        max_attempts: u64,
        /// Deliveries under way at once, from 1 to 1000. Default: `16`.
        concurrency: u64,
    }

    /// What callers may ask for. A rate is `10/s`, `600/m` or `9000/h`, up to 1000000, and `600/m burst 50` where fewer
    /// (or more) than a whole unit's requests may come at once. What is too much gets 429 with `Retry-After`.
    struct Limits {
        /// Requests of one identity, at all locations together. Default: no limit.
        per_identity: Scalar,
        /// Requests of one IPv4 address or IPv6 /64, of everything but the health and playback endpoints. Default: no limit.
        per_address: Scalar,
        /// Connections of callers at once; further ones are closed. Fewer where the system allows fewer files.
        /// Default: `20000`.
        connections: u64,
        /// Connections of one IPv4 address or IPv6 /64; only with `trusted_hops: 0`. Default: no limit.
        connections_per_address: u64,
        /// Streams at once on one HTTP/2 connection, 1 to 10000. Default: `250`.
        streams: u64,
        /// How long an HTTP/1 connection may be without a request; a head must be whole by then. Default: `60s`.
        idle: Scalar,
        /// How long a caller over HTTP/1 may take for the next piece of a body. Default: `60s`.
        body: Scalar,
        /// How long a caller may take to accept the next piece of an answer. Default: `60s`.
        write: Scalar,
        /// Bytes of bodies that the gateway reads itself, held at once; then messages get 503. Default: `256MiB`.
        buffered: Scalar,
    }

    /// Rates of one location, besides those of the whole gateway.
    struct LocationLimits {
        /// Requests of one identity. Only with `access: google`. Default: no limit.
        per_identity: Scalar,
        /// Requests of one address. Default: no limit.
        per_address: Scalar,
        /// Requests of everybody, also of those who are refused later. Default: no limit.
        total: Scalar,
    }

    /// A service behind the gateway.
    struct Upstream {
        /// Its `https` or `http` origin: no path (a location has `rewrite`), no user. Required. The metadata server
        /// is refused, because what it answers are credentials.
        url: String,
        /// Audience of the minted token, or `none` to mint none. Default: the origin of `url`.
        audience: String,
        /// Header that carries the minted token. Default: `X-Serverless-Authorization`.
        token_header: String,
        /// `auto` (what TLS settles on; HTTP/1.1 in the clear), `http1` or `http2`. Default: `auto`.
        protocol: String,
        /// Limits on waiting.
        timeouts: Timeouts,
        /// Where to connect: `HOST:PORT`, `IPv4:PORT`, `[IPv6]:PORT` or `unix:/PATH`, 1 to 64. `url` still gives
        /// scheme, `Host`, the name in TLS and the audience. Default: the host and port of `url`.
        addresses: List<String>,
        /// Which of the addresses is next: `round_robin`, or `least_connections` (the fewest requests under way).
        /// Default: `round_robin`.
        balance: String,
        /// Asks each address regularly whether it is well. Default: nobody asks.
        health_check: HealthCheck,
        /// Certificates; only with `https`.
        tls: UpstreamTls,
        /// Requests under way at once, 1 to 1000000; WebSockets count for as long as they are open.
        /// Default: no limit.
        max_in_flight: u64,
        /// Where requests above `max_in_flight` wait, in the order of their arrival.
        queue: Queue,
    }

    /// Asks each address regularly whether it is well. It is asked by GET, without a token.
    struct HealthCheck {
        /// An absolute path, percent-encoded. Required.
        path: String,
        /// Between two checks. Default: `5s`.
        interval: Scalar,
        /// Limit on one check. Default: `1s`.
        timeout: Scalar,
        /// Good answers in a row after which an address is used again, 1 to 100. Default: `1`.
        healthy: u64,
        /// Failures in a row after which an address is not used, 1 to 100. Default: `3`.
        unhealthy: u64,
        /// The status of a good answer. Default: `200`.
        expect: u64,
    }

    /// Certificates for an upstream, in PEM. Paths are relative to the configuration file; the files are read at start.
    struct UpstreamTls {
        /// Authorities that may certify the upstream, instead of the system's.
        ca: String,
        /// The gateway's own certificate, then what leads to its authority. Only with `key`.
        certificate: String,
        /// The key of `certificate`.
        key: String,
        /// The name to ask for and to be certified, a host name or an IP address. Default: the host of `url`.
        server_name: String,
    }

    /// Where requests above `max_in_flight` wait.
    struct Queue {
        /// How many may wait, 0 to 1000000; further ones are refused at once. Default: `100`.
        length: u64,
        /// How long one may wait. Default: `5s`.
        wait: Scalar,
    }

    /// Limits on waiting for an upstream: more than zero, at most a day. At a location, those that are set take the
    /// place of the upstream's.
    struct Timeouts {
        /// Until the connection, TLS included, is established. Default: `5s`.
        connect: Scalar,
        /// Between two reads. Default: `60s`.
        read: Scalar,
        /// Between two writes. Default: `60s`.
        write: Scalar,
        /// How long an unused connection is kept. Default: `90s`.
        idle: Scalar,
    }

    /// Which requests it takes, who passes, and where they go.
    struct Location {
        /// `/x` takes `/x` and all below it at a segment boundary; `= /x` takes only `/x`. Written decoded. Required.
        path: String,
        /// The only host name it takes, without port. Default: any.
        host: String,
        /// The only methods it takes, in capitals; not CONNECT, not TRACE. Default: all.
        methods: List<String>,
        /// `public` (everybody), `google` (callers whom `allow` admits) or `webhook` (senders whose signature is good).
        /// Required: there is no default.
        access: String,
        /// Replaces the global `allow` here. Only with `access: google`.
        allow: Allow,
        /// How the sender signs. Only with `access: webhook`, and required there.
        webhook: Webhook,
        /// A jq program that makes the body: a file, from the directory of the configuration, or `{ jq: '…' }`.
        /// Default: the body stays as it is.
        adapt: Adapt,
        /// Whether requests are kept in the log, answered at once, and delivered until the upstream has accepted them.
        /// Default: `false`.
        wal: bool,
        /// What the sender gets when the message is kept. Only with `wal: true`.
        reply: Reply,
        /// How messages are delivered. Only where the gateway reads the body: with `webhook`, `adapt` or `wal: true`.
        playback: Playback,
        /// What replaces the matched part of the path: an absolute path, percent-encoded. Default: it stays.
        rewrite: String,
        /// The name of the upstream. Required.
        upstream: String,
        /// Risks that are meant at this location. Default: none.
        accept_risks: List<String>,
        /// Which pages of other origins may call it from a browser. Default: what the upstream says passes.
        cors: Cors,
        /// Replaces single limits of the upstream.
        timeouts: Timeouts,
        /// Largest request body. Default: no limit; with `webhook`, `adapt` or `wal: true`, where the whole body is kept in
        /// memory, `1MiB`, and at most `32MiB` (`7MiB` with `wal.pubsub`).
        max_body: Scalar,
        /// Forms of a path that are refused elsewhere, for an upstream that needs them: `slash` (`%2F`), `semicolon`
        /// (`;`, `%3B`), `percent` (`%25` before two hexadecimal digits), `double_slash` (`//`). Default: none.
        allow_encoded: List<String>,
        /// Rates, besides those at the top.
        limits: LocationLimits,
    }

    /// Which pages of other origins may call a location from a browser. Not with `access: webhook`.
    struct Cors {
        /// Their origins as browsers write them, such as `https://app.example.com` or `http://localhost:3000`; or `*` alone,
        /// not with `credentials`. Required.
        origins: List<String>,
        /// The methods that they may use. Default: all that the location takes.
        methods: List<String>,
        /// The headers that they may send. Default: those that they ask for.
        headers: List<String>,
        /// The headers of answers that they may read, besides the safe ones, `X-Request-Id`, `WWW-Authenticate` and
        /// `Retry-After`. Default: no others.
        expose: List<String>,
        /// Whether they may have the browser send cookies, and open WebSockets with them. Default: `false`.
        credentials: bool,
        /// How long browsers may remember the answer to a preflight, at most a day. Default: `10m`.
        max_age: Scalar,
        /// Who answers preflights: `answer` (the gateway) or `pass` (the upstream, when origin and method are allowed; it
        /// then sees them from callers that nobody verified). Default: `answer`.
        preflight: String,
    }
}
