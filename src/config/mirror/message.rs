//! The keys of locations whose requests are messages: who signs them, what the sender gets, how they are delivered.

use super::List;
use crate::config::file::Node;
use crate::config::problem::{Place, Spanned};
use crate::config::read::{FromNode, Json, Named, Reader, Scalar, section};

section! {
    /// How a sender signs: exactly one of these.
    struct Webhook {
        /// Slack: commands, events and interactions.
        slack: Signed,
        /// GitHub.
        github: Signed,
        /// Stripe.
        stripe: Signed,
        /// Shopify.
        shopify: Signed,
        /// Zoom.
        zoom: Signed,
        /// Any sender that follows <https://www.standardwebhooks.com>.
        standard_webhooks: Signed,
        /// Any other HMAC.
        hmac: Hmac,
    }

    /// The signing secrets.
    struct Signed {
        /// The name of one of the `secrets`. Required.
        secret: String,
        /// Another that is good as well, while the sender changes from one to the other. Default: none.
        previous_secret: String,
    }

    /// An HMAC signature (RFC 2104), described.
    struct Hmac {
        /// The name of one of the `secrets`. Required.
        secret: String,
        /// Another that is good as well, while the sender changes from one to the other. Default: none.
        previous_secret: String,
        /// Header that carries the signature. Required.
        header: String,
        /// `sha256`, `sha512` or `sha1`. Default: `sha256`.
        algorithm: String,
        /// `hex` or `base64`. Default: `hex`.
        encoding: String,
        /// What stands before each signature, such as `sha256=`. Default: nothing.
        prefix: String,
        /// One character that separates several elements of the header, such as `,`. Default: the header is one.
        separator: String,
        /// What is signed: text with `{body}`, `{timestamp}` and `{header:NAME}` in it. Default: `{body}`.
        signed: String,
        /// Header with the time of signing, in seconds since 1970. Default: none; then `id_header` is all that is left
        /// against messages that are sent again.
        timestamp_header: String,
        /// In place of `timestamp_header`: what the element of `header` begins with that holds the time, such as `t=`.
        timestamp_element: String,
        /// How far the time of signing may be from now, from `1s` to a day. Default: `5m`.
        tolerance: Scalar,
        /// `text` (the secret's own bytes) or `base64`. Default: `text`.
        key: String,
        /// What stands before the Base64 of the secret, such as `whsec_`. Only with `key: base64`. Default: nothing.
        key_prefix: String,
        /// Header with the sender's id of the delivery, the same on each of its retries. Default: none.
        id_header: String,
    }

    /// What the sender gets when the message is kept.
    struct Reply {
        /// Status from 200 to 299. Default: `200`.
        status: u64,
        /// Further headers. Default: none.
        headers: Named<String>,
        /// Body as JSON, written in YAML. Default: no body.
        json: Json,
        /// Body as text, in place of `json`. Default: no body.
        text: String,
    }

    /// How messages are delivered. Statuses are numbers, or classes such as `4xx`; a number goes before its class, both
    /// go before the default: 2xx settles, 408, 425, 429 and 5xx are tried again, all else is a dead letter.
    struct Playback {
        /// One after the other, in the order in which they came. Only with `wal: true`. Default: `false`.
        ordered: bool,
        /// Headers of the sender that the upstream gets, besides `Content-Type`. Default: none.
        keep: List<String>,
        /// Statuses of the upstream that settle a message. Default: none more.
        settle: List<Scalar>,
        /// Statuses after which delivery is tried again. Default: none more.
        retry: List<Scalar>,
        /// Statuses that make a message a dead letter. Default: none more.
        dead_letter: List<Scalar>,
    }
}
