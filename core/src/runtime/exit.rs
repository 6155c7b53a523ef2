//! How a process ends, as its supervisor sees it: the codes of `sysexits.h` that the API promises.

use super::settings::ConfigErrors;
use crate::error::{Code, Error, Kind};
use std::fmt;

/// The exit codes of every Quorate process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or drained after SIGTERM.
    Ok,
    /// The command line makes no sense (`EX_USAGE` is 64, but clap and shells use 2).
    Usage,
    /// Something needed is not there: a server, a port, a program (`EX_UNAVAILABLE`).
    Unavailable,
    /// It may work next time (`EX_TEMPFAIL`).
    Temporary,
    /// The configuration is wrong (`EX_CONFIG`).
    Config,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Temporary => 75,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a container did not start or could not go on: what to tell, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened and what to do about it.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// The configuration is wrong.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Exit::Config, message)
    }

    /// Something needed is not there.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::config(errors.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match (error.code, error.code.kind()) {
            (Code::InvalidArgument | Code::Unauthenticated | Code::Forbidden, _) => Exit::Config,
            (_, Kind::Retryable | Kind::Unknown) => Exit::Temporary,
            (_, Kind::Rejected) => Exit::Unavailable,
        };
        Self::new(exit, error.to_string())
    }
}
