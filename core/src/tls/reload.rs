//! A value made of files, made anew when they change.

use super::TlsError;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How often the files are looked at, at the most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a file looked like. Secrets in Kubernetes are exchanged behind a symbolic link, which shows in the time.
type Stamp = Option<(SystemTime, u64)>;

type Load<T> = Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>;

/// A value that follows its files.
pub(super) struct Reloaded<T> {
    paths: Vec<PathBuf>,
    load: Load<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    stamps: Vec<Stamp>,
    looked: Instant,
}

impl<T> std::fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloaded")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl<T> Reloaded<T> {
    /// Loads for the first time; what is wrong now stops the start.
    pub(super) fn open(
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let stamps = stamps(&paths);
        let value = Arc::new(load()?);
        Ok(Self {
            paths,
            load: Box::new(load),
            state: Mutex::new(State {
                value,
                stamps,
                looked: Instant::now(),
            }),
        })
    }

    /// The value as the files have it. When they cannot be used, it stays as it was: a rotation in progress must cut
    /// nobody off. Reads small files, at most once a second.
    pub(super) fn get(&self) -> Arc<T> {
        self.get_at(Instant::now())
    }

    fn get_at(&self, now: Instant) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.looked) >= LOOK_EVERY {
            state.looked = now;
            let stamps = stamps(&self.paths);
            if stamps != state.stamps {
                // Remembered also when it fails, so that one broken file is told once.
                state.stamps = stamps;
                match (self.load)() {
                    Ok(value) => {
                        state.value = Arc::new(value);
                        tracing::info!(files = ?self.paths, "certificates read again");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the certificates read before stay in use");
                    }
                }
            }
        }
        Arc::clone(&state.value)
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    paths
        .iter()
        .map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed file takes effect within a second, and a broken one changes nothing.
    #[test]
    fn a_changed_file_takes_effect_and_a_broken_one_does_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one").unwrap();
        let path = file.path().to_owned();
        let load = move || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if text.is_empty() {
                Err(TlsError::new("empty"))
            } else {
                Ok(text)
            }
        };
        let value = Reloaded::open(vec![file.path().to_owned()], load).unwrap();
        let mut now = Instant::now();
        std::fs::write(file.path(), "three").unwrap();
        assert_eq!(*value.get_at(now), "one", "not looked at yet");
        now += LOOK_EVERY;
        assert_eq!(*value.get_at(now), "three");
        std::fs::write(file.path(), "").unwrap();
        now += LOOK_EVERY;
        assert_eq!(*value.get_at(now), "three", "broken");
        std::fs::write(file.path(), "fifth").unwrap();
        now += LOOK_EVERY;
        assert_eq!(*value.get_at(now), "fifth");
        std::fs::remove_file(file.path()).unwrap();
        now += LOOK_EVERY;
        assert_eq!(*value.get_at(now), "fifth", "gone");
    }
}
