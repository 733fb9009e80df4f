//! End to end: the real binary with real git, HTTP clients and apps.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod addons;
mod api;
mod apps;
mod attach;
mod bad_input;
mod certs;
mod command_line;
mod concurrency;
mod contract;
mod disk;
mod docker;
mod domains;
mod drains;
mod git;
mod git_clients;
mod house;
mod isolation;
mod kill_loop;
mod load;
mod oauth;
mod one_offs;
mod pipelines;
mod policy;
mod reboot;
mod restart;
mod routing;
mod schema;
mod setups;
mod sign_in;
mod situations;
mod sleeping;
mod ssh;
mod stacks;
mod support;
mod webhooks;
