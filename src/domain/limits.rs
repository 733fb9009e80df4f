//! Every bound with its name, unit and source. Passing one is told to the user in a line with a code.

/// All config vars of an app together (`runtime.md` section 10).
pub const CONFIG_BYTES_MAX: usize = 64 * 1024;
/// Longest config var key.
pub const CONFIG_KEY_BYTES_MAX: usize = 256;
/// Public keys of one account.
pub const KEYS_PER_ACCOUNT_MAX: usize = 100;
/// Longest public key as text; RSA of 16384 bits takes 2.8 KB.
pub const PUBLIC_KEY_BYTES_MAX: usize = 8 * 1024;
/// JSON request bodies of the API.
pub const API_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Dynos of one app over all types (`runtime.md` section 10).
pub const DYNOS_PER_APP_MAX: u32 = 100;
/// Compressed slug (`builds.md` section 2).
pub const SLUG_BYTES_MAX: u64 = 500 * 1024 * 1024;
/// Unpacked source or slug (`builds.md` section 2: checkout of at most 1 GB; a slug may unpack to more).
pub const TREE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Files, folders and links of one source or slug.
pub const TREE_ENTRIES_MAX: u64 = 200_000;
/// Longest path inside a source or slug.
pub const TREE_PATH_BYTES_MAX: usize = 4096;
/// Longest Procfile.
pub const PROCFILE_BYTES_MAX: usize = 64 * 1024;
/// Build output kept and shown (`builds.md` section 2).
pub const BUILD_OUTPUT_BYTES_MAX: u64 = 300 * 1024 * 1024;
/// Log lines kept for reading back, per app (`logs.md` section 2).
pub const LOG_LINES_KEPT: usize = 1500;
/// A log line is cut into pieces of this size (`logs.md` section 2).
pub const LOG_LINE_BYTES_MAX: usize = 10_000;
/// Time to finish after SIGTERM (`runtime.md` section 6).
pub const STOP_GRACE_MS: u64 = 30_000;
/// The router waits at most this long for a dyno that is starting (H20).
pub const ROUTE_WAIT_MS: u64 = 75_000;
/// First byte of an answer after the request was sent (H12).
pub const FIRST_BYTE_MS: u64 = 30_000;
/// Silence in either direction after that (H15, H28).
pub const IDLE_MS: u64 = 55_000;
/// Connecting to one dyno (H19).
pub const CONNECT_MS: u64 = 5_000;
/// A log session URL answers this long (`logs.md` section 3).
pub const LOG_SESSION_MS: u64 = 300_000;
/// An upload URL of `POST /sources` answers this long (`git-contract.md` section 7).
pub const SOURCE_URL_MS: u64 = 3_600_000;
/// Custom domains of one app (`runtime.md` section 10).
pub const DOMAINS_PER_APP_MAX: usize = 1000;

/// An attached one-off dyno waits so long for its client (R13; `runtime.md` section 13).
pub const RENDEZVOUS_MS: u64 = 30_000;
/// Silence of an attached client and its process after which they are parted (`runtime.md` section 13).
pub const RENDEZVOUS_IDLE_MS: u64 = 3_600_000;
/// One-off dynos of an app at the same time (`runtime.md` section 10, Standard sizes).
pub const ONE_OFFS_MAX: usize = 50;
/// A one-off dyno lives at most this long (`runtime.md` section 13).
pub const ONE_OFF_SECONDS_MAX: u64 = 86_400;
/// Schedules of an app.
pub const SCHEDULES_PER_APP_MAX: usize = 100;
