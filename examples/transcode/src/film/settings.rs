//! How the film is encoded. One value for every chunk and for the run without a queue that the result
//! is compared with.

use serde::{Deserialize, Serialize};

/// Settings of an encode. Part of a job's identity: other settings are another film.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Settings {
    /// x264 preset: slower is smaller
    #[arg(long, default_value = "medium")]
    pub preset: String,
    /// x264 quality: 0 is lossless, 51 is worst
    #[arg(long, default_value_t = 22, value_parser = clap::value_parser!(u32).range(0..=51))]
    pub crf: u32,
    /// Bit rate of the sound, in kbit/s
    #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u32).range(16..=1024))]
    pub audio_kbps: u32,
    /// Threads of one chunk's encoder; 0 lets the encoder take all cores
    #[arg(long, default_value_t = 1)]
    pub threads: u32,
    /// Length of a chunk in seconds, at the least; by default a 24th of the film, between 1 and 10
    #[arg(long)]
    pub chunk_seconds: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            preset: "medium".to_owned(),
            crf: 22,
            audio_kbps: 160,
            threads: 1,
            chunk_seconds: None,
        }
    }
}
