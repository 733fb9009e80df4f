//! Numbers over time, and alerts.

use crate::NameRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A series: lines over a span, a value for each step.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct MetricSeries {
    pub kind: String,
    pub unit: String,
    /// Begin of the first step.
    pub from: String,
    /// The same, seconds since 1970.
    pub from_s: u64,
    /// Seconds of a step.
    pub step_s: u32,
    pub lines: Vec<MetricLine>,
}

/// One line of a series.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct MetricLine {
    pub name: String,
    /// What the values can not pass, such as a memory quota; null where there is none.
    pub limit: Option<f64>,
    /// null where nothing is known.
    pub values: Vec<Option<f64>>,
}

/// The newest values of all kinds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct MetricsNow {
    /// null for the server.
    pub app: Option<NameRef>,
    /// Words for the path.
    pub kinds: Vec<String>,
    /// By kind and line; the last ten minutes.
    pub latest: BTreeMap<String, BTreeMap<String, f64>>,
}

/// A rule: when a metric has been beyond a threshold for a time, there is an alert.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AlertRule {
    /// null for one that is built in.
    pub id: Option<Uuid>,
    pub name: String,
    pub metric: String,
    pub threshold: f64,
    pub for_s: u32,
    pub clear_s: u32,
    pub process: Option<String>,
    pub built_in: bool,
    pub created_at: Option<String>,
}

/// An alert, open or closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Alert {
    pub id: Uuid,
    pub app: Option<NameRef>,
    pub rule: String,
    pub subject: String,
    pub text: String,
    pub fix: String,
    /// `open` or `closed`.
    pub state: String,
    /// How often it came back within the hour of a notice.
    pub count: u32,
    pub value: f64,
    pub opened_at: String,
    pub closed_at: Option<String>,
}

/// Where notices go. The target is shown without what is secret in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AlertChannel {
    pub id: Uuid,
    pub app: Option<NameRef>,
    pub kind: String,
    pub target: String,
    /// Notices that wait for the next summary.
    pub held: u32,
    pub created_at: String,
    pub last_delivery: Option<AlertDelivery>,
}

/// A notice on its way to a channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AlertDelivery {
    pub id: Uuid,
    pub channel: Uuid,
    /// `opened`, `closed`, `summary` or `test`.
    pub what: String,
    pub subject: String,
    /// `pending`, `sent` or `failed`.
    pub status: String,
    pub attempts: u32,
    pub error: Option<String>,
    pub created_at: String,
    pub updated_at: String,
}
