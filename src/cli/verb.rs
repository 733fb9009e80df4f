//! How a command is described: once, for parsing, help, completion, man pages and the list in the documents.

use crate::{args::Given, args::Global, failure::Result, session::Session};

/// Values that the server knows and completion offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// Names of apps.
    Apps,
    /// Keys of config vars.
    ConfigKeys,
    /// Types of the formation, for `TYPE=NUMBER`.
    Types,
    /// Names of dynos and types.
    Dynos,
    /// Own and other host names.
    Domains,
    /// Names of pipelines.
    Pipelines,
    /// Names of add-ons.
    Addons,
    /// Names of features.
    Features,
    /// Names of stacks.
    Stacks,
    /// Versions of releases.
    Releases,
}

/// Shape of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A place of its own; at least `min` and at most `max` times.
    Place {
        /// Fewest.
        min: usize,
        /// Most.
        max: usize,
    },
    /// All that follows, flags and all.
    Rest,
    /// `--name VALUE`.
    Value,
    /// `--name VALUE`, again and again.
    Values,
    /// `--name`.
    Switch,
}

/// An argument or a flag.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Long flag, or key of a place.
    pub name: &'static str,
    /// One letter.
    pub short: Option<char>,
    /// Other long flags.
    pub aliases: &'static [&'static str],
    /// One line.
    pub help: &'static str,
    /// Shape.
    pub shape: Shape,
    /// Fixed words that it takes.
    pub words: &'static [&'static str],
    /// Words that the server knows.
    pub live: Option<Live>,
}

impl Arg {
    const fn new(name: &'static str, help: &'static str, shape: Shape) -> Self {
        Self { name, short: None, aliases: &[], help, shape, words: &[], live: None }
    }

    /// With one letter.
    pub const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// With other names.
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Only these words.
    pub const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.words = words;
        self
    }

    /// Completed from the server.
    pub const fn live(mut self, live: Live) -> Self {
        self.live = Some(live);
        self
    }
}

/// A place that must be filled.
pub const fn need(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name, help, Shape::Place { min: 1, max: 1 })
}

/// A place that may be filled.
pub const fn maybe(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name, help, Shape::Place { min: 0, max: 1 })
}

/// One or more places.
pub const fn some(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name, help, Shape::Place { min: 1, max: usize::MAX })
}

/// Any number of places.
pub const fn any(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name, help, Shape::Place { min: 0, max: usize::MAX })
}

/// A command line to be run elsewhere.
pub const fn rest(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name, help, Shape::Rest)
}

/// A flag with a value.
pub const fn value(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name, help, Shape::Value)
}

/// A flag with a value, that may be repeated.
pub const fn values(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name, help, Shape::Values)
}

/// A flag.
pub const fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name, help, Shape::Switch)
}

/// What carries a verb out.
#[derive(Clone, Copy)]
pub enum Run {
    /// Without a server.
    Here(fn(&Global, &Given) -> Result<()>),
    /// With one.
    There(fn(&Session) -> Result<()>),
    /// The binary does it, and only looks at the first word for it.
    Binary,
}

/// A command such as `ps:scale`.
#[derive(Clone, Copy)]
pub struct Verb {
    /// Name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// One line.
    pub about: &'static str,
    /// Arguments and flags, besides those of every command.
    pub args: &'static [Arg],
    /// Command lines without `tidemill`.
    pub examples: &'static [&'static str],
    /// Not listed.
    pub hidden: bool,
    /// What it does.
    pub run: Run,
}

impl Verb {
    const fn new(name: &'static str, about: &'static str, run: Run) -> Self {
        Self { name, aliases: &[], about, args: &[], examples: &[], hidden: false, run }
    }

    /// With other names.
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// With arguments.
    pub const fn args(mut self, args: &'static [Arg]) -> Self {
        self.args = args;
        self
    }

    /// With examples.
    pub const fn examples(mut self, examples: &'static [&'static str]) -> Self {
        self.examples = examples;
        self
    }

    /// Not listed.
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Is this one of its names?
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// A verb that needs a server.
pub const fn there(name: &'static str, about: &'static str, run: fn(&Session) -> Result<()>) -> Verb {
    Verb::new(name, about, Run::There(run))
}

/// A verb that needs none.
pub const fn here(name: &'static str, about: &'static str, run: fn(&Global, &Given) -> Result<()>) -> Verb {
    Verb::new(name, about, Run::Here(run))
}

/// A verb of the binary.
pub const fn binary(name: &'static str, about: &'static str) -> Verb {
    Verb::new(name, about, Run::Binary)
}

/// Verbs about one thing.
pub struct Topic {
    /// Its name: what is before the first colon, mostly.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// Its verbs.
    pub verbs: &'static [Verb],
}
