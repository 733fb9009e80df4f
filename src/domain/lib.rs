//! What things are: ids, names, apps, releases, dynos, sizes, limits, the state machine and the planner.
//!
//! This room knows nothing of the outside: no io, no async, no clock, no randomness. The time is an argument
//! ([`time::UnixMs`]), fresh ids are made by the caller. Everything else in the house is rebuilt when this room
//! changes, so it stays small.

pub mod account;
pub mod acm;
pub mod address;
pub mod alert;

pub mod app;
pub mod backup;
pub mod cycle;
pub mod drain;
pub mod dyno;
pub mod event;
pub mod feature;
pub mod health;
pub mod ids;
pub mod key;
pub mod limits;
pub mod machine;
pub mod names;
pub mod pipeline;
pub mod plan;
pub mod procfile;
pub mod release;
pub mod rendezvous;
pub mod restart;
pub mod schedule;
pub mod setup;
pub mod sign_in;
pub mod size;
pub mod sleep;
pub mod sni;
pub mod team;
pub mod time;
pub mod volume;
pub mod webhook;

pub use account::{Account, Role, Scope, Token};
pub use app::{App, AppDomain, Formation};
pub use drain::LogDrain;
pub use dyno::{Dyno, DynoKind, DynoState};
pub use event::{Event, EventBody, Origin};
pub use health::HealthCheck;
pub use ids::{AccountId, AppId, BuildId, DynoId, KeyId, PipelineId, ReleaseId, ScheduleId, SlugId, TeamId};
pub use key::SshKey;
pub use pipeline::{Coupling, Pipeline, Promotion, Stage};
pub use release::{Build, BuildStatus, Release, ReleaseStatus, Slug, SlugState, SourceBlob};
pub use rendezvous::{Attach, Meeting, Rendezvous};
pub use schedule::Schedule;
pub use setup::Setup;
pub use sni::SniEndpoint;
pub use team::{Collaborator, Membership, Rights, Team};
pub use time::UnixMs;
pub use webhook::Webhook;
