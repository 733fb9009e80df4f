//! The environment of the CLI and of git: every address that the CLI knows leads to the bridge (`cli-contract.md` section 1.3).

use crate::{Bridge, Place};

/// Variables that would lead past the bridge, or show other credentials.
const REMOVED: &[&str] = &[
    "HEROKU_HEADERS",
    "HEROKU_GIT_HOST",
    "HEROKU_CLOUD",
    "HEROKU_API_TOKEN",
    "HEROKU_POSTGRESQL_HOST",
    "HEROKU_REDIS_HOST",
    "HEROKU_DATA_CONTROL_PLANE",
    "HEROKU_PARTICLEBOARD_HEADERS",
];
/// Answers git with the key, which it finds where the CLI finds it.
const HELPER: &str = "!f() { test \"$1\" = get && printf 'username=heroku\\npassword=%s\\n' \"$HEROKU_API_KEY\"; }; f";

/// For whom a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The CLI and git: harmless to other programs of a shell.
    Shell,
    /// The CLI only: others may have business with other hosts.
    Heroku,
}

/// Whose words are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// sh, bash, zsh and their like.
    Posix,
    /// fish.
    Fish,
}

/// Variables with their values.
pub struct Variables {
    /// To be set.
    pub set: Vec<(Scope, String, String)>,
    /// To be removed.
    pub removed: &'static [&'static str],
    shell_file: String,
}

impl Variables {
    /// For a bridge and its folder. Git's own list is continued where the environment has one.
    pub fn new(bridge: &Bridge, place: &Place) -> Self {
        let known = std::env::var("GIT_CONFIG_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
        let (port, ca) = (bridge.port, place.authority().display().to_string());
        let mut set = addresses(port);
        let shell = |name: &str, value: String| (Scope::Shell, name.to_string(), value);
        set.push(shell("HEROKU_API_KEY", bridge.key.clone()));
        set.push(shell("NODE_EXTRA_CA_CERTS", place.node_authorities().display().to_string()));
        if let Some(file) = place.git_authorities() {
            set.push(shell("GIT_SSL_CAINFO", file.display().to_string()));
        }
        let git = git_settings(port, bridge.usual_port, &ca);
        set.push(shell("GIT_CONFIG_COUNT", (known + git.len()).to_string()));
        for (at, (key, value)) in git.into_iter().enumerate() {
            set.push(shell(&format!("GIT_CONFIG_KEY_{}", known + at), key));
            set.push(shell(&format!("GIT_CONFIG_VALUE_{}", known + at), value));
        }
        set.push((Scope::Heroku, "GIT_CONFIG_GLOBAL".into(), place.git_config().display().to_string()));
        Self { set, removed: REMOVED, shell_file: place.shell().display().to_string() }
    }

    /// Lines for a shell to evaluate: the variables, a function that gives the CLI the rest, and the shell's process id for
    /// the bridge. `heroku local` runs the user's own programs, whose other hosts are their business.
    pub fn lines(&self, shell: Shell) -> String {
        let quoted = |text: &str| match shell {
            Shell::Posix => format!("'{}'", text.replace('\'', "'\\''")),
            Shell::Fish => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        };
        let mut out = String::new();
        for name in self.removed {
            out += &match shell {
                Shell::Posix => format!("unset {name}\n"),
                Shell::Fish => format!("set -e {name}\n"),
            };
        }
        for (_, name, value) in self.set.iter().filter(|(scope, ..)| *scope == Scope::Shell) {
            out += &match shell {
                Shell::Posix => format!("export {name}={}\n", quoted(value)),
                Shell::Fish => format!("set -gx {name} {}\n", quoted(value)),
            };
        }
        let own = self.set.iter().filter(|(scope, ..)| *scope == Scope::Heroku);
        let own: Vec<String> = own.map(|(_, name, value)| format!("{name}={}", quoted(value))).collect();
        let (own, file) = (own.join(" "), quoted(&self.shell_file));
        out + &match shell {
            Shell::Posix => format!(
                "heroku() {{ case \"$1\" in local|local:*) command heroku \"$@\";; *) env {own} heroku \"$@\";; esac; }}\n\
                 echo $$ > {file}\n"
            ),
            Shell::Fish => format!(
                "function heroku; if string match -qr '^local(:|$)' -- $argv[1]; command heroku $argv; else; env {own} heroku \
                 $argv; end; end\necho $fish_pid > {file}\n"
            ),
        }
    }
}

fn addresses(port: u16) -> Vec<(Scope, String, String)> {
    let http = format!("http://127.0.0.1:{port}");
    let mut all = Vec::new();
    // By number: `localhost` may be looked up, and may be another program's ::1.
    let to_bridge = [
        "HEROKU_HOST",
        "HEROKU_LOGIN_HOST",
        "HEROKU_PARTICLEBOARD_URL",
        "HEROKU_BUILDPACK_REGISTRY_URL",
        "HEROKU_STATUS_HOST",
        "HEROKU_ANALYTICS_URL",
        "SSO_URL",
    ];
    all.extend(to_bridge.map(|name| (Scope::Shell, name.to_string(), http.clone())));
    let others = [
        ("HEROKU_DATA_HOST", "127.0.0.1".to_string()), // scheme and port are those of HEROKU_HOST
        ("PGDIAGNOSE_URL", "127.0.0.1".to_string()),
        ("HEROKU_EXEC_URL", format!("https://127.0.0.1:{port}")),
        ("HEROKU_CI_WEBSOCKET_URL", format!("ws://127.0.0.1:{port}/socket")),
        ("DISABLE_TELEMETRY", "true".to_string()),
        ("HEROKU_SKIP_NEW_VERSION_CHECK", "1".to_string()),
        ("HEROKU_DISABLE_AUTOUPDATE", "1".to_string()),
    ];
    all.extend(others.map(|(name, value)| (Scope::Shell, name.to_string(), value)));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        all.push((Scope::Heroku, name.into(), http.clone()));
    }
    // The CLI takes what is said of HEROKU_HOST for other hosts, too: an exception for the bridge would be one for all.
    for name in ["NO_PROXY", "no_proxy"] {
        all.push((Scope::Heroku, name.into(), String::new()));
    }
    all
}

/// Git trusts the bridge for its own address only, asks nobody else for the password, and keeps it nowhere.
fn git_settings(port: u16, usual_port: u16, ca: &str) -> Vec<(String, String)> {
    let address = format!("https://127.0.0.1:{port}");
    let mut all = vec![
        (format!("http.{address}/.sslCAInfo"), ca.to_string()),
        (format!("http.{address}/.proxy"), String::new()),
        (format!("credential.{address}.helper"), String::new()),
        (format!("credential.{address}.helper"), HELPER.to_string()),
    ];
    if port != usual_port {
        // Remotes that were written when the usual port was free.
        all.push((format!("url.{address}/.insteadOf"), format!("https://127.0.0.1:{usual_port}/")));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_quoted_for_the_shell_that_reads_them() {
        let set = vec![
            (Scope::Shell, "A".to_string(), "it's \\ $HOME".to_string()),
            (Scope::Heroku, "HTTP_PROXY".to_string(), "http://127.0.0.1:1".to_string()),
        ];
        let variables = Variables { set, removed: &["B"], shell_file: "/run/a b/shell".into() };
        let posix = "unset B\nexport A='it'\\''s \\ $HOME'\nheroku() { case \"$1\" in local|local:*) command heroku \"$@\";; *) \
                     env HTTP_PROXY='http://127.0.0.1:1' heroku \"$@\";; esac; }\necho $$ > '/run/a b/shell'\n";
        assert_eq!(variables.lines(Shell::Posix), posix);
        let fish = "set -e B\nset -gx A 'it\\'s \\\\ $HOME'\nfunction heroku; if string match -qr '^local(:|$)' -- $argv[1]; command heroku \
                    $argv; else; env HTTP_PROXY='http://127.0.0.1:1' heroku $argv; end; end\necho $fish_pid > '/run/a b/shell'\n";
        assert_eq!(variables.lines(Shell::Fish), fish);
    }
}
