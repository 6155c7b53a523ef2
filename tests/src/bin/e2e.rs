//! `make e2e`: containers on the Docker engine of this host; exits 1 when a scenario fails.
#![allow(clippy::print_stdout, reason = "a command")]

use anyhow::bail;
use clap::Parser;
use quorate_tests::e2e::{Images, SCENARIOS, engine};
use std::process::ExitCode;

/// Starts real containers, does to them what happens to containers, and accounts for every job.
#[derive(Parser)]
struct Arguments {
    /// Tag of the images `make images` made.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// Run only these.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Say what there is, and run nothing.
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(unknown) = arguments
        .only
        .iter()
        .find(|name| SCENARIOS.iter().all(|scenario| scenario.name != **name))
    {
        bail!("no scenario is called {unknown}; --list names them");
    }
    let chosen: Vec<_> = SCENARIOS
        .iter()
        .filter(|row| arguments.only.is_empty() || arguments.only.iter().any(|n| n == row.name))
        .collect();
    if arguments.list {
        for scenario in chosen {
            println!("{:<16} {}", scenario.name, scenario.proves);
        }
        return Ok(ExitCode::SUCCESS);
    }
    match engine() {
        Ok(version) => println!("Docker engine {version}, images tagged {}", arguments.tag),
        Err(why) => {
            println!("no Docker engine answers here ({why}): the container tests are skipped");
            println!(
                "test result: ok. 0 passed; 0 failed; {} ignored; 0 measured; 0 filtered out",
                chosen.len()
            );
            return Ok(ExitCode::SUCCESS);
        }
    }
    let images = Images { tag: arguments.tag };
    let mut failed = 0;
    for scenario in &chosen {
        let ended = scenario.run(&images).await;
        let took = ended.took.as_secs_f64();
        match ended.result {
            Ok(found) => println!("test {} ... ok ({took:.1} s): {found}", scenario.name),
            Err(why) => {
                failed += 1;
                println!(
                    "test {} ... FAILED ({took:.1} s): {}\n{why}",
                    scenario.name, scenario.proves
                );
            }
        }
    }
    // The form of cargo's own line, so that one sum holds for all.
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out",
        chosen.len() - failed
    );
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
