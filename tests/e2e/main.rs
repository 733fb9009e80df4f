//! End to end: the real binary with real git, HTTP clients and apps.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod api;
mod apps;
mod attach;
mod bad_input;
mod bridge;
mod cli_contract;
mod cli_here;
mod cli_tls;
mod clients;
mod command_line;
mod contract;
mod disk;
mod docker;
mod git;
mod git_clients;
mod heroku_cli;
mod house;
mod import;
mod isolation;
mod kill_loop;
mod load;
mod one_offs;
mod policy;
mod reboot;
mod restart;
mod routing;
mod schema;
mod situations;
mod sleeping;
mod ssh;
mod stacks;
mod support;
