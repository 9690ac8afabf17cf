//! The forms of an answer.

use crate::gate::request::RequestView;

/// Who is told, and what the answer may mention.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Form of the answer.
    pub form: Form,
    /// Id of the request.
    pub request_id: &'a str,
    /// Where to go on after sign-in.
    pub return_path: &'a str,
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An HTML page.
    Page,
    /// A problem document (RFC 9457).
    Problem,
    /// gRPC trailers.
    Grpc,
}

impl Form {
    /// The form that the caller understands.
    pub fn of(view: &RequestView<'_>) -> Self {
        if view.is_grpc() {
            Self::Grpc
        } else if view.is_navigation() || view.accepts_html() {
            Self::Page
        } else {
            Self::Problem
        }
    }
}
