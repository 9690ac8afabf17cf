//! Where traces go.

use super::value::share;
use super::{Resolver, address};
use crate::config::Traces;
use crate::config::mirror;
use crate::config::problem::Spanned;

/// Enough to see what is usual, little enough to cost nothing.
const SAMPLE: f64 = 0.1;

impl Resolver<'_> {
    /// The collector of the file. Nothing when there is none, or something is wrong with it.
    pub(super) fn traces(&mut self, section: Option<&Spanned<mirror::Traces>>) -> Option<Traces> {
        let Spanned { value: file, place } = section?;
        if file.endpoint.is_none() {
            self.missing(place, "endpoint", "name the collector, such as `http://127.0.0.1:4318/v1/traces`");
        }
        let endpoint = self.value(file.endpoint.as_ref(), address::endpoint);
        let sample = self.value(file.sample.as_ref(), share);
        Some(Traces { endpoint: endpoint?, sample: sample.unwrap_or(SAMPLE) })
    }
}
