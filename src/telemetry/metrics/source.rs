//! Values that somebody else keeps, and that are read when the metrics are asked for.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Whether a value only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows, from zero at the start. Its name ends in `_total`.
    Counter,
}

/// One value, with all that Prometheus is told about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Name, with its unit (<https://prometheus.io/docs/practices/naming/>).
    pub name: &'static str,
    /// What it says, in a sentence.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// Names and values of its labels. No value may come from a caller.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

impl Reading {
    /// A gauge without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, kind: Kind::Gauge, labels: Vec::new(), value }
    }

    /// A counter without labels.
    pub fn counter(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { kind: Kind::Counter, ..Self::gauge(name, help, value) }
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((name, value.into()));
        self
    }
}

/// Somebody who keeps values. Asked on the operators' listener, so it may read a file but must not wait for anybody.
pub trait Source: Send + Sync {
    /// The values now. Names and labels are the same each time.
    fn readings(&self) -> Vec<Reading>;
}

impl<F: Fn() -> Vec<Reading> + Send + Sync> Source for F {
    fn readings(&self) -> Vec<Reading> {
        self()
    }
}

/// The readings by name, in the order in which the names came.
pub(super) fn families(readings: impl Iterator<Item = Reading>) -> Vec<MetricFamily> {
    let mut families: Vec<MetricFamily> = Vec::new();
    for reading in readings {
        let known = families.iter().position(|family| family.name() == reading.name);
        let metric = metric(&reading);
        match known.and_then(|index| families.get_mut(index)) {
            Some(family) => family.mut_metric().push(metric),
            None => families.push(family(&reading, metric)),
        }
    }
    families
}

fn family(reading: &Reading, metric: Metric) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(reading.name.to_owned());
    family.set_help(reading.help.to_owned());
    family.set_field_type(match reading.kind {
        Kind::Gauge => MetricType::GAUGE,
        Kind::Counter => MetricType::COUNTER,
    });
    family.set_metric(vec![metric]);
    family
}

fn metric(reading: &Reading) -> Metric {
    let labels = reading.labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.clone());
        pair
    });
    let mut metric = Metric::from_label(labels.collect());
    match reading.kind {
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(reading.value);
            metric.set_gauge(gauge);
        }
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(reading.value);
            metric.set_counter(counter);
        }
    }
    metric
}
