//! What every example has besides its sockets: options, and errors.

#![allow(dead_code, reason = "each example uses a part of it")]

use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use pico_args::Arguments;

pub(crate) type Result<T = ()> = std::result::Result<T, Problem>;

/// Any error. `main` shows an error as `Debug` does, and whoever looks at an example reads text rather than names of types.
pub(crate) struct Problem(Box<dyn Error + Send + Sync>);

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Problem {
    fn from(error: E) -> Self {
        Problem(error.into())
    }
}

impl Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// Nothing here takes so long, unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What was given on the command line.
pub(crate) struct Options(Arguments);

impl Options {
    /// Prints the usage and ends the process if `--help` is among the options.
    pub(crate) fn new(usage: &str) -> Self {
        let mut arguments = Arguments::from_env();
        if arguments.contains(["-h", "--help"]) {
            println!("{usage}");
            std::process::exit(0);
        }
        Options(arguments)
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        self.0.contains(name)
    }

    pub(crate) fn value<T: FromStr>(&mut self, name: &'static str, default: T) -> Result<T>
    where
        T::Err: Display,
    {
        let given = self.0.opt_value_from_str(name);
        let given = given.map_err(|error| format!("{name}: {error}; see --help"))?;
        Ok(given.unwrap_or(default))
    }

    /// One at least: with none of them there would be nothing to see, or something to wait for that never comes.
    pub(crate) fn count<T>(&mut self, name: &'static str, default: T) -> Result<T>
    where
        T: FromStr + Default + PartialEq,
        T::Err: Display,
    {
        let count = self.value(name, default)?;
        if count == T::default() {
            return Err(format!("{name} 0: expected 1 or more; see --help").into());
        }
        Ok(count)
    }

    /// What is left: words that are no options.
    pub(crate) fn words(self) -> Result<Words> {
        let mut words = Vec::new();
        for word in self.0.finish() {
            let word = word.into_string().map_err(|word| format!("{word:?}"))?;
            if word.starts_with('-') {
                return Err(format!("there is no option {word}; see --help").into());
            }
            words.push(word);
        }
        Ok(Words(words))
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result {
        match self.words()?.0.first() {
            None => Ok(()),
            Some(word) => Err(format!("what is {word}? see --help").into()),
        }
    }
}

pub(crate) struct Words(Vec<String>);

impl Words {
    pub(crate) fn strs(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

/// What was given makes no sense.
pub(crate) fn misused(usage: &str) -> ! {
    eprintln!("{usage}");
    std::process::exit(2)
}

/// For an example without options.
pub(crate) fn no_options(usage: &str) -> Result {
    Options::new(usage).end()
}

/// What a thread returned: `joined(thread.join())`.
pub(crate) fn joined<T>(outcome: thread::Result<Result<T>>) -> Result<T> {
    outcome.map_err(|_| "a thread panicked")?
}
