//! `penstock edges`: who calls whom, and how well that goes.

use super::stat::{ask, noted};
use super::telling::ink;
use crate::answer::{Answer, Failure};
use crate::args::EdgesArgs;
use crate::connection::Connection;
use crate::render;

pub(super) async fn run(args: EdgesArgs) -> Result<Answer, Failure> {
    let response = ask(&mut Connection::new(&args.traffic.connection)?, args.request()).await?;
    let form = args.traffic.output;
    Ok(noted(Answer::fine(render::edges(&response, form, ink())), &response, form, args.traffic.window))
}
