//! The configuration file as it is written: every key, its form and its default. This is the reference.
//!
//! In any value, `${NAME}` is replaced by an environment variable and `${NAME:-default}` by a default where that
//! is not set or empty; `$${` is a plain `${`. A key that is not listed here is an error, and so is a key twice.
//! Durations are written `500ms`, `60s`, `5m`, `1h 30m`; sizes as bytes, or `10MiB`, `32MB`, `64KiB`.

use super::file::Node;
use super::problem::{Place, Spanned};
use super::read::{FromNode, Named, Reader, Scalar, section};

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
        /// How callers name the gateway: an `https` origin without path (`http` only for localhost and loopback
        /// addresses). Used for the redirect URI and as the audience of service accounts' ID tokens.
        /// Default: none; origins then come from `Host`, and ID tokens of service accounts are refused.
        public_url: String,
        /// Address of the operators' listener for metrics and health. Default: none.
        admin: Scalar,
        /// How many proxies in front of the gateway append to `X-Forwarded-For` and are believed: 0 to 8.
        /// Default: 1 on Cloud Run (where `K_SERVICE` is set), else 0.
        trusted_hops: u64,
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
        /// The services behind the gateway, by a name of letters, digits, `-` and `_`. Each must be used.
        upstreams: Named<Upstream>,
        /// Which requests are let through and where they go. At least one. The longest match wins, in any order.
        locations: List<Location>,
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
        /// `public` (everybody) or `google` (callers whom `allow` admits). Required: there is no default.
        access: String,
        /// Replaces the global `allow` here. Only with `access: google`.
        allow: Allow,
        /// What replaces the matched part of the path: an absolute path, percent-encoded. Default: it stays.
        rewrite: String,
        /// The name of the upstream. Required.
        upstream: String,
        /// Replaces single limits of the upstream.
        timeouts: Timeouts,
        /// Largest request body. Default: no limit.
        max_body: Scalar,
        /// Forms of a path that are refused elsewhere, for an upstream that needs them: `slash` (`%2F`), `semicolon`
        /// (`;`, `%3B`), `percent` (`%25` before two hexadecimal digits), `double_slash` (`//`). Default: none.
        allow_encoded: List<String>,
    }
}
