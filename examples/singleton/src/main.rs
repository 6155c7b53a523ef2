//! `singleton demo` shows that one of four copies of an application writes, and that a table under a
//! fence takes no write of an old leader, whatever happens to the copies. `singleton app` is the copy
//! that is written in Rust; `app.py` beside it is the other three.

use anyhow::{Context as _, bail};
use singleton::{app, demo};
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let runtime = tokio::runtime::Runtime::new()?;
    match words.next().as_deref() {
        Some("app") => {
            let mut next = |what| {
                words
                    .next()
                    .with_context(|| format!("app: {what} is missing"))
            };
            let (server, id) = (next("the server")?, next("the id")?);
            let db = PathBuf::from(next("the database")?);
            runtime.block_on(app::run(&server, &id, &db))
        }
        Some("demo") => {
            let seconds = words.next().map_or(Ok(30), |text| text.parse())?;
            let report = runtime.block_on(demo::run(std::env::current_exe()?, seconds))?;
            demo::say(&report.to_string());
            report.verdict()
        }
        _ => bail!("use: singleton demo [SECONDS], or singleton app SERVER ID DATABASE"),
    }
}
