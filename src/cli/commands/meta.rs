//! The program itself, and what the binary does on the server.

use super::prelude::*;
use crate::{
    args::{Given, Global},
    complete, man,
    verb::binary,
};

/// `version`, `completion`, `man`.
pub const TOPIC: Topic = Topic {
    name: "version",
    about: "This program: version, completion, man pages",
    verbs: &[
        here("version", "Print the version", version),
        here("completion", "Print what a shell needs to complete commands, app names and more", complete::script)
            .args(&[need("shell", "Which").words(&["bash", "zsh", "fish"])])
            .examples(&[
                "completion bash > ~/.local/share/bash-completion/completions/tidemill",
                "completion zsh > ~/.zfunc/_tidemill",
                "completion fish > ~/.config/fish/completions/tidemill.fish",
            ]),
        here("man", "Write man pages, one for each topic, to a folder", man::write_all)
            .args(&[need("dir", "The folder")])
            .examples(&["man /usr/local/share/man/man1"]),
        here("commands", "List all commands", commands).args(&[switch("markdown", "As a page for the documents")]),
    ],
};

/// `regions`.
pub const REGIONS: Topic =
    Topic { name: "regions", about: "Where apps can be", verbs: &[there("regions", "List regions", regions)] };

/// `heroku`, `heroku-env`, `import:heroku`.
pub const HEROKU: Topic = Topic {
    name: "heroku",
    about: "The official Heroku CLI on this server, and apps from there",
    verbs: &[
        binary("heroku", "Run the official Heroku CLI on this server: heroku -- ARGS"),
        binary("heroku-env", "Let the official Heroku CLI of this shell work on this server: eval \"$(tidemill heroku-env)\""),
        crate::import::VERB,
    ],
};

const PASSPHRASE: crate::verb::Arg = value("passphrase-file", "File whose first line is the passphrase; else it is asked for");
const DATA: crate::verb::Arg = value("data-dir", "The data folder [default: as configured]");

/// `backup`, `restore`.
pub const BACKUP: Topic = Topic {
    name: "backup",
    about: "One sealed file of the whole installation (on the server, as root)",
    verbs: &[
        binary("backup:create", "Make a backup and try it, while all runs")
            .args(&[value("to", "The file to make; one that is there is not replaced"), PASSPHRASE, DATA])
            .examples(&["backup create --to /mnt/usb/tidemill.backup"]),
        binary("backup:verify", "Read a backup from end to end and open the store in it")
            .args(&[need("file", "The backup"), PASSPHRASE])
            .examples(&["backup verify tidemill.backup"]),
        binary("backup:list", "List the backups that were made, the newest first").args(&[DATA]),
        binary("restore", "Restore a backup into an empty data folder")
            .args(&[need("file", "The backup"), PASSPHRASE, DATA])
            .examples(&["restore tidemill.backup --data-dir /var/lib/tidemill"]),
    ],
};

/// What is done on the server.
pub const SERVER: Topic = Topic {
    name: "server",
    about: "On the server itself",
    verbs: &[
        binary("serve", "Run the platform: see tidemill serve --help"),
        binary("install", "Install this program as a service of systemd (on the server)"),
        binary("uninstall", "Take the service away; data and settings stay"),
        binary("demo", "Show it all on this machine: daemon, app, push, page"),
        binary("init", "Set up the server: checks, domain, first admin (on the server, as root)"),
        binary("setup-link", "Print a one-time link that makes an admin (on the server, as root)"),
        binary("machine:swap", "Make a swap file: machine:swap 2G (on the server, as root)"),
    ],
};

fn version(global: &Global, _: &Given) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    show(global, &json!({ "version": version }), || format!("tidemill {version}\n"));
    Ok(())
}

fn regions(s: &Session) -> Result<()> {
    let all = s.client.list("/regions")?;
    s.show(&all, || table(&rows(&all, &["/name", "/description"])));
    Ok(())
}

fn commands(global: &Global, given: &Given) -> Result<()> {
    let shown = || crate::topics::all().iter().flat_map(|t| t.verbs).filter(|v| !v.hidden);
    let all: Vec<Value> = shown().map(|v| json!({ "name": v.name, "aliases": v.aliases, "about": v.about })).collect();
    show(global, &Value::Array(all), || match given.is("markdown") {
        true => man::markdown(),
        false => table(&shown().map(|v| vec![v.name.to_string(), v.about.to_string()]).collect::<Vec<_>>()),
    });
    Ok(())
}
