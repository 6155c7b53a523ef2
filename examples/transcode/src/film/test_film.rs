//! Makes the film that shows whether picture and sound stay together: noise that is hard to compress, a
//! white flash every second, and a beep with each flash.

use crate::ffmpeg::tool;
use crate::ffmpeg::{Failure, Tools};
use std::path::Path;

/// Length of the test film unless asked otherwise.
pub const SECONDS: u32 = 30;
/// The title by which a test film is known again.
pub const TITLE: &str = "Quorate flash and beep";
/// When the first flash begins; one follows every second.
pub const FIRST_FLASH_S: f64 = 0.5;

/// Writes a test film of 640×360 at 30 frames a second.
///
/// Flash and beep last a tenth of a second and begin half a second after each full one, so that each
/// chunk of a second holds one and none lies on a cut.
pub fn make(tools: &Tools, seconds: u32, output: &Path) -> Result<(), Failure> {
    let on = format!("lt(mod(t+{},1),0.1)", 1.0 - FIRST_FLASH_S);
    let graph = format!(
        "testsrc2=size=640x360:rate=30:duration={seconds},noise=alls=12:allf=t[busy];\
         color=white:size=640x360:rate=30:duration={seconds}[white];\
         [busy][white]overlay=enable='{on}',format=yuv420p[picture];\
         aevalsrc='0.5*sin(2*PI*1000*t)*{on}':sample_rate=48000:duration={seconds}[sound]"
    );
    let mut command = tools.ffmpeg();
    command
        .args(["-filter_complex", &graph])
        .args(["-map", "[picture]", "-map", "[sound]"])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "18"])
        .args(["-g", "30", "-sc_threshold", "0", "-bf", "2"])
        .args(["-c:a", "aac", "-b:a", "128k"])
        .args(["-metadata", &format!("title={TITLE}")])
        .args(["-movflags", "+faststart", "-f", "mp4"])
        .arg(output);
    tool::run(command)
}
