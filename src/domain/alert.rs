//! Alerts: rules, when an alert opens and closes, and how many notices a channel gets (`ux.md` section 9). Pure: time and
//! values come from outside.

use crate::{AppId, UnixMs};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Crashes in a row of a dyno.
    Crashes,
    /// Disk of the host in use, percent.
    Disk,
    /// Life of a certificate that is over, percent.
    Certificate,
    /// Memory of a dyno against its quota, percent.
    Memory,
    /// Share of answers with 5xx in the last five minutes, percent.
    #[serde(rename = "5xx-share")]
    Errors,
    /// p95 of the time of dynos in the last five minutes, milliseconds.
    P95,
    /// Minutes for which a log drain has been failing.
    Drain,
    /// CPU of a dyno, percent of one core.
    Cpu,
    /// Requests per minute.
    Requests,
    /// 1 while the newest build or release of the last day is a failed one, else 0.
    Deploy,
    /// Age of the last good backup, hours.
    Backup,
}

const METRICS: &[(Metric, &str)] = &[
    (Metric::Crashes, "crashes"),
    (Metric::Disk, "disk"),
    (Metric::Certificate, "certificate"),
    (Metric::Memory, "memory"),
    (Metric::Errors, "5xx-share"),
    (Metric::P95, "p95"),
    (Metric::Drain, "drain"),
    (Metric::Cpu, "cpu"),
    (Metric::Requests, "requests"),
    (Metric::Deploy, "failed-deploy"),
    (Metric::Backup, "backup"),
];

impl Metric {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        METRICS.iter().find(|(metric, _)| *metric == self).map_or("", |(_, word)| word)
    }

    /// Reads the word of the API.
    pub fn parse(text: &str) -> Option<Self> {
        METRICS.iter().find(|(_, word)| *word == text).map(|(metric, _)| *metric)
    }

    /// The words of what own rules of an app can look at.
    pub fn of_apps() -> Vec<&'static str> {
        METRICS.iter().filter(|(metric, _)| !metric.is_of_host()).map(|(_, word)| *word).collect()
    }

    /// It is about the server as a whole, not about an app.
    pub fn is_of_host(self) -> bool {
        matches!(self, Self::Disk | Self::Backup)
    }

    /// Unit of values and thresholds.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Crashes | Self::Deploy => "",
            Self::Disk | Self::Certificate | Self::Memory | Self::Errors | Self::Cpu => " %",
            Self::P95 => " ms",
            Self::Drain => " min",
            Self::Backup => " h",
            Self::Requests => " req/min",
        }
    }
}

/// A rule: an alert opens when a value has been at or above the threshold for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Public id; nil for rules that are built in.
    pub id: Uuid,
    /// App; `None` for rules that are built in.
    pub app: Option<AppId>,
    /// For people.
    pub name: String,
    /// What it looks at.
    pub metric: Metric,
    /// From here on it is too much.
    pub threshold: f64,
    /// For so many seconds.
    pub for_s: u32,
    /// It closes when the value has been good for so many seconds.
    #[serde(default = "clear_s")]
    pub clear_s: u32,
    /// Only this type or dyno.
    #[serde(default)]
    pub process: Option<String>,
    /// Creation time.
    pub created_at: UnixMs,
}

/// [`Rule::clear_s`] when nothing is said.
pub const CLEAR_S: u32 = 60;

fn clear_s() -> u32 {
    CLEAR_S
}

/// Own rules that an app can have.
pub const RULES_PER_APP_MAX: usize = 50;

/// Rules that every app and the host have.
pub fn built_in() -> Vec<Rule> {
    let rule = |name: &str, metric, threshold, for_s| Rule {
        id: Uuid::nil(),
        app: None,
        name: name.into(),
        metric,
        threshold,
        for_s,
        clear_s: CLEAR_S,
        process: None,
        created_at: UnixMs(0),
    };
    vec![
        rule("crash loop", Metric::Crashes, 2.0, 0),
        rule("disk almost full", Metric::Disk, 85.0, 60),
        rule("certificate near its end", Metric::Certificate, 80.0, 0),
        rule("memory over its quota", Metric::Memory, 100.0, 60),
        rule("many errors", Metric::Errors, 5.0, 120),
        rule("slow answers", Metric::P95, 5000.0, 300),
        rule("log drain fails", Metric::Drain, 5.0, 0),
        // Success is no fluctuation: nothing has to be waited for.
        Rule { clear_s: 0, ..rule("deploy failed", Metric::Deploy, 1.0, 0) },
        rule("backup too old", Metric::Backup, 36.0, 0),
    ]
}

/// An alert, open or closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Public id.
    pub id: Uuid,
    /// App; `None` when it is about the host.
    pub app: Option<AppId>,
    /// The rule and what of the app it is about; one alert is open for it at a time.
    pub key: String,
    /// Name of the rule.
    pub rule: String,
    /// `worker.1`, a host name; empty for the app or host as a whole.
    pub subject: String,
    /// What happened, for people.
    pub text: String,
    /// What to do: a command.
    pub fix: String,
    /// The value that opened it, or the newest.
    pub value: f64,
    /// When it opened.
    pub opened_at: UnixMs,
    /// When it closed, if it has.
    #[serde(default)]
    pub closed_at: Option<UnixMs>,
    /// How often it opened: once, and again within an hour of the last notice.
    pub count: u32,
    /// When people were last told that it is open.
    pub told_at: UnixMs,
    /// They were told of this opening, so they are told of its end, too.
    pub told: bool,
}

/// The same cause within this time is counted and not told again.
pub const SAME_CAUSE_MS: u64 = 60 * 60 * 1000;
/// An alert about which nothing is known any more closes after this time.
pub const UNKNOWN_MS: u64 = 15 * 60 * 1000;

/// What is remembered of a rule and its subject.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    /// Since when the value has been too high.
    pub bad_since: Option<UnixMs>,
    /// Since when it has been good.
    pub good_since: Option<UnixMs>,
    /// Since when nothing has been known.
    pub unknown_since: Option<UnixMs>,
}

/// What to do with the alert of a rule and subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// Open one and tell.
    Open,
    /// Open the last one again and count it, without a word.
    Count,
    /// It has been open, without a word, for an hour: tell.
    Tell,
    /// Close it and tell.
    Close,
    /// Close it without a word.
    CloseSilently,
}

impl Watch {
    /// Takes a value (`None`: not known), given the last alert of this rule and subject, if there was one.
    pub fn step(&mut self, rule: &Rule, value: Option<f64>, last: Option<&Alert>, now: UnixMs) -> Step {
        let mark = |since: &mut Option<UnixMs>, is: bool| *since = if is { Some(since.unwrap_or(now)) } else { None };
        mark(&mut self.bad_since, value.is_some_and(|value| value >= rule.threshold));
        mark(&mut self.good_since, value.is_some_and(|value| value < rule.threshold));
        mark(&mut self.unknown_since, value.is_none());
        let lasted = |since: Option<UnixMs>, ms: u64| since.is_some_and(|since| now.since_ms(since) >= ms);
        match last.filter(|alert| alert.closed_at.is_none()) {
            Some(alert) => {
                if lasted(self.good_since, u64::from(rule.clear_s) * 1000) || lasted(self.unknown_since, UNKNOWN_MS) {
                    if alert.told { Step::Close } else { Step::CloseSilently }
                } else if !alert.told && now.since_ms(alert.told_at) >= SAME_CAUSE_MS {
                    Step::Tell
                } else {
                    Step::Rest
                }
            }
            None if !lasted(self.bad_since, u64::from(rule.for_s) * 1000) => Step::Rest,
            None if last.is_some_and(|alert| now.since_ms(alert.told_at) < SAME_CAUSE_MS) => Step::Count,
            None => Step::Open,
        }
    }
}

impl Alert {
    /// Carries out a step; nothing for [`Step::Open`], which makes a new alert.
    pub fn take(&mut self, step: Step, value: Option<f64>, now: UnixMs) {
        self.value = value.unwrap_or(self.value);
        match step {
            Step::Rest | Step::Open => {}
            Step::Count => {
                self.closed_at = None;
                self.count = self.count.saturating_add(1);
                self.told = false;
            }
            Step::Tell => {
                self.told = true;
                self.told_at = now;
            }
            Step::Close | Step::CloseSilently => self.closed_at = Some(now),
        }
    }
}

/// Where notices go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelKind {
    /// E-mail.
    Email,
    /// A signed webhook.
    Webhook,
    /// An incoming webhook of a chat: `{"text": …}`.
    Chat,
    /// A topic of ntfy.
    Ntfy,
}

impl ChannelKind {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
            Self::Chat => "chat",
            Self::Ntfy => "ntfy",
        }
    }

    /// Reads the word of the API.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Email, Self::Webhook, Self::Chat, Self::Ntfy].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Public id.
    pub id: Uuid,
    /// Whose alerts it gets; `None` for those of all apps and of the host.
    pub app: Option<AppId>,
    /// Kind.
    pub kind: ChannelKind,
    /// Address, sealed: it may hold a secret.
    pub target: Vec<String>,
    /// The same without what may be secret.
    pub shown: String,
    /// For the signature, sealed; of webhooks only.
    #[serde(default)]
    pub secret: Vec<String>,
    /// Notices that wait for the next summary, oldest first; see [`HELD_MAX`].
    #[serde(default)]
    pub held: Vec<String>,
    /// How many wait, with those whose text was let go.
    #[serde(default)]
    pub held_count: u32,
    /// Creation time.
    pub created_at: UnixMs,
}

/// Channels of an app, or of the installation.
pub const CHANNELS_MAX: usize = 20;
/// Texts that a summary shows.
pub const HELD_MAX: usize = 20;
/// Notices of an hour.
pub const NOTICES_PER_HOUR: usize = 6;
/// That hour.
pub const HOUR_MS: u64 = 60 * 60 * 1000;

/// May a channel get one more notice now, given when it got others? The summary counts as one.
pub fn may_send(sent: impl Iterator<Item = UnixMs>, now: UnixMs) -> bool {
    sent.filter(|at| now.since_ms(*at) < HOUR_MS).count() < NOTICES_PER_HOUR
}

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// An alert opened.
    Opened,
    /// An alert closed.
    Closed,
    /// Several that were held back.
    Summary,
    /// Somebody tries the channel.
    Test,
}

impl What {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Summary => "summary",
            Self::Test => "test",
        }
    }
}

/// How far a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeStatus {
    /// To be sent, for the first time or again.
    Pending,
    /// Taken by the receiver.
    Sent,
    /// Given up.
    Failed,
}

/// A notice on its way to a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Public id.
    pub id: Uuid,
    /// Channel.
    pub channel: Uuid,
    /// Order.
    pub seq: u64,
    /// What it is about.
    pub what: What,
    /// One line.
    pub subject: String,
    /// All of it.
    pub text: String,
    /// For programs, JSON.
    pub data: String,
    /// How far it is.
    pub status: NoticeStatus,
    /// Attempts so far.
    pub attempts: u32,
    /// Why the last one failed.
    pub error: Option<String>,
    /// When to try next.
    pub next_at: UnixMs,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// Waits before the second and third attempt; then it is given up.
pub const RETRY_MS: [u64; 2] = [30_000, 300_000];
/// Notices of a channel that are kept.
pub const NOTICES_KEPT: usize = 50;

impl Notice {
    /// An attempt ended.
    pub fn end(&mut self, error: Option<String>, now: UnixMs) {
        self.attempts += 1;
        self.updated_at = now;
        let wait = RETRY_MS.get(self.attempts as usize - 1);
        self.status = match (&error, wait) {
            (None, _) => NoticeStatus::Sent,
            (Some(_), Some(_)) => NoticeStatus::Pending,
            (Some(_), None) => NoticeStatus::Failed,
        };
        self.next_at = now.plus_ms(wait.copied().unwrap_or(0));
        self.error = error;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(for_s: u32) -> Rule {
        Rule { threshold: 10.0, for_s, ..built_in().remove(0) }
    }

    fn opened(now: UnixMs, value: f64) -> Alert {
        Alert {
            id: Uuid::nil(),
            app: None,
            key: String::new(),
            rule: String::new(),
            subject: String::new(),
            text: String::new(),
            fix: String::new(),
            value,
            opened_at: now,
            closed_at: None,
            count: 1,
            told_at: now,
            told: true,
        }
    }

    /// Runs values, one each 20 s; the notices with their times.
    fn run(rule: &Rule, values: &[Option<f64>]) -> (Vec<(u64, Step)>, Option<Alert>) {
        let (mut watch, mut last, mut told) = (Watch::default(), None::<Alert>, Vec::new());
        for (n, value) in values.iter().enumerate() {
            let now = UnixMs(1_000_000 + n as u64 * 20_000);
            let step = watch.step(rule, *value, last.as_ref(), now);
            match (step, last.as_mut()) {
                (Step::Open, _) => last = Some(opened(now, value.unwrap_or(0.0))),
                (step, Some(alert)) => alert.take(step, *value, now),
                (step, None) => assert_eq!(step, Step::Rest),
            }
            if matches!(step, Step::Open | Step::Tell | Step::Close) {
                told.push((now.0, step));
            }
        }
        (told, last)
    }

    #[test]
    fn opens_after_its_time_closes_when_good_and_counts_what_comes_back() {
        let (high, low) = (Some(11.0), Some(9.0));
        let steps = |told: Vec<(u64, Step)>| told.into_iter().map(|(_, step)| step).collect::<Vec<_>>();
        assert!(run(&rule(60), &[high, high, high, low, high, high, high]).0.is_empty());
        let values = [[high; 4].as_slice(), &[low; 4], &[high; 10], &[low; 10]].concat();
        let (told, last) = run(&rule(60), &values);
        assert_eq!(steps(told), [Step::Open, Step::Close]);
        let last = last.unwrap();
        assert_eq!((last.count, last.closed_at.is_some()), (2, true));
        // It came back silently and stayed: after an hour that is said.
        let values = [[high; 4].as_slice(), &[low; 4], &[high; 200], &[low; 4]].concat();
        assert_eq!(steps(run(&rule(60), &values).0), [Step::Open, Step::Close, Step::Tell, Step::Close]);
        // Nothing known: neither good nor bad, until it has been long.
        let values = [[high; 4].as_slice(), &[None; 44]].concat();
        assert_eq!(steps(run(&rule(60), &values).0), [Step::Open]);
        let values = [[high; 4].as_slice(), &[None; 46]].concat();
        assert_eq!(steps(run(&rule(60), &values).0), [Step::Open, Step::Close]);
    }

    #[test]
    fn six_an_hour_and_the_rest_waits() {
        let sent: Vec<UnixMs> = (0..6).map(|n| UnixMs(n * 1000)).collect();
        assert!(may_send(sent[..5].iter().copied(), UnixMs(10_000)));
        assert!(!may_send(sent.iter().copied(), UnixMs(10_000)));
        assert!(may_send(sent.iter().copied(), UnixMs(HOUR_MS)));
    }

    #[test]
    fn a_notice_is_tried_three_times() {
        let mut notice = Notice {
            id: Uuid::nil(),
            channel: Uuid::nil(),
            seq: 1,
            what: What::Test,
            subject: String::new(),
            text: String::new(),
            data: String::new(),
            status: NoticeStatus::Pending,
            attempts: 0,
            error: None,
            next_at: UnixMs(0),
            created_at: UnixMs(0),
            updated_at: UnixMs(0),
        };
        notice.end(Some("a".into()), UnixMs(0));
        assert_eq!((notice.status, notice.next_at), (NoticeStatus::Pending, UnixMs(30_000)));
        notice.end(Some("b".into()), UnixMs(30_000));
        assert_eq!((notice.status, notice.next_at), (NoticeStatus::Pending, UnixMs(330_000)));
        notice.end(Some("c".into()), UnixMs(330_000));
        assert_eq!((notice.status, notice.error.as_deref()), (NoticeStatus::Failed, Some("c")));
    }

    proptest! {
        #[test]
        fn told_once_each_way_and_never_without_cause(
            values in prop::collection::vec(prop_oneof![Just(None), (0.0f64..20.0).prop_map(Some)], 1..600),
            long in prop::collection::vec(1usize..40, 1..40),
            for_s in 0u32..200,
        ) {
            // Stretches of the same value, else nothing would ever last.
            let values: Vec<Option<f64>> = values.iter().zip(long.iter().cycle()).flat_map(|(v, n)| vec![*v; *n]).take(2000).collect();
            let rule = rule(for_s);
            let (told, last) = run(&rule, &values);
            let mut opened_at: Option<u64> = None;
            let mut is_told = false;
            for (at, step) in told {
                if step == Step::Close {
                    prop_assert!(is_told, "closed what nobody knew of");
                    is_told = false;
                } else {
                    prop_assert!(!is_told, "told twice of one that is open");
                    prop_assert!(opened_at.is_none_or(|before| at - before >= SAME_CAUSE_MS), "told twice within an hour");
                    (opened_at, is_told) = (Some(at), true);
                }
            }
            let high = values.iter().any(|v| v.is_some_and(|v| v >= rule.threshold));
            prop_assert!(high || last.is_none());
            if let Some(alert) = last {
                prop_assert_eq!(is_told, alert.told && alert.closed_at.is_none());
            }
        }
    }
}
