//! Proves that the program in README.md's section on leader election works as it stands there, in memory and
//! over the API of a cluster.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(
    clippy::print_stderr,
    clippy::redundant_closure,
    reason = "the program is for readers"
)]

mod container;

use container::Container;
use quorate_core::types::FencingToken;
use quorate_leader_election::election::Election;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

async fn plan(token: FencingToken) -> FencingToken {
    token
}

async fn program(election: Election) -> Result<FencingToken, Box<dyn std::error::Error>> {
    let planned = loop {
        let guard = election.campaign("planner").await?;
        match guard.run(|token| plan(token)).await {
            Ok(planned) => break planned,
            Err(lost) => eprintln!("{lost}"),
        }
    };
    Ok(planned)
}

/// Without comments and without spaces.
fn bare(text: &str) -> String {
    let code = text.lines().map(|line| line.split("//").next().unwrap());
    code.flat_map(str::split_whitespace).collect()
}

#[test]
fn the_program_here_is_the_one_in_the_readme() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("## Leader election").unwrap();
    let (_, program) = section.split_once("```rust").unwrap();
    let (program, _) = program.split_once("```").unwrap();
    let (_, program) = program.split_once("let planned").unwrap();
    let here = bare(include_str!("readme.rs"));
    let program = format!("letplanned{}", bare(program));
    assert!(here.contains(&program), "{program}");
}

#[tokio::test]
async fn it_works_in_memory() {
    let election = Election::in_memory().await.unwrap();
    let planned = tokio::time::timeout(PATIENCE, program(election.clone())).await;
    let token = planned.unwrap().unwrap();
    // It has given up, so it can be done again.
    let again = tokio::time::timeout(PATIENCE, program(election.clone())).await;
    assert!(again.unwrap().unwrap() > token);
    election.shutdown().await;
}

#[tokio::test]
async fn it_works_over_the_api_of_a_cluster() {
    let server = Container::start().await;
    let election = Election::connect(&server.address.to_string()).unwrap();
    let planned = tokio::time::timeout(PATIENCE, program(election)).await;
    assert!(planned.unwrap().unwrap() > FencingToken(0));
}
