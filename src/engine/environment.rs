//! The environment and command of a dyno (`runtime.md` section 4).

use domain::Dyno;
use std::collections::BTreeMap;

/// One bash: profile scripts in byte order, `.profile`, then the command. The command comes as an argument and is
/// remembered before any script could change the arguments; nothing a user typed is part of this text.
const START: &str = r#"__tidemill_command=$1
__tidemill_profiles() { local LC_ALL=C; local IFS=; shopt -s nullglob; __tidemill_files=(/etc/profile.d/*.sh /app/.profile.d/*.sh); shopt -u nullglob; }
__tidemill_profiles; unset -f __tidemill_profiles
for __tidemill_file in "${__tidemill_files[@]}"; do [ -r "$__tidemill_file" ] && . "$__tidemill_file"; done
unset __tidemill_file __tidemill_files
[ -r /app/.profile ] && . /app/.profile
exec /bin/bash -c "$__tidemill_command""#;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PS1: &str = r"\[\033[01;34m\]\w\[\033[00m\] \[\033[01;32m\]$ \[\033[00m\]";

/// Keys of the defaults.
const DEFAULTS: [&str; 4] = ["PATH", "HOME", "PWD", "PS1"];

/// Program and arguments.
pub fn argv(command: &str) -> Vec<String> {
    ["/bin/bash", "-c", START, "bash", command].map(String::from).to_vec()
}

/// Config vars over the defaults and what the app wants to know of itself, and over those what came with the call for a
/// one-off; PORT and DYNO stay the platform's.
pub fn variables(
    dyno: &Dyno,
    metadata: BTreeMap<String, String>,
    config: BTreeMap<String, String>,
    extra: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> =
        [("PATH", PATH), ("HOME", "/app"), ("PWD", "/app"), ("PS1", PS1)].map(|(k, v)| (k.to_string(), v.to_string())).into();
    all.extend(metadata);
    all.extend(config);
    all.extend(extra);
    all.insert("DYNO".into(), dyno.name());
    match dyno.port {
        Some(port) => all.insert("PORT".into(), port.to_string()),
        None => all.remove("PORT"),
    };
    all
}

/// Program and arguments in an image, which may have no bash; none for the image's own command (`runtime.md` section 4.5).
pub fn argv_in_image(command: &str) -> Vec<String> {
    if command.is_empty() { Vec::new() } else { ["/bin/sh", "-c", command].map(String::from).to_vec() }
}

/// An image has defaults of its own, which only config vars override.
pub fn without_defaults(mut all: BTreeMap<String, String>, config: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    all.retain(|key, _| !DEFAULTS.contains(&key.as_str()) || config.contains_key(key));
    all
}

/// The command as the log shows it: only `$PORT` is expanded, since other variables may be secrets.
pub fn shown(command: &str, port: Option<u16>) -> String {
    let Some(port) = port else { return command.to_string() };
    command.replace("${PORT}", &port.to_string()).replace("$PORT", &port.to_string())
}
