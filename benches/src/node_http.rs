//! A Node.js function behind the platform against the same function behind Node's own HTTP server.

use std::process::Command;

use serde_json::json;

use crate::http::{self, Client};
use crate::ledger::Ledger;
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::plain::Plain;
use crate::report::{Bound, Measured, Report, grouped};
use crate::stats::most;
use crate::throughput::{CLIENTS, MEASURED, WARM_UP};
use crate::{Failure, kinds};

const REPETITIONS: usize = 5;

/// JSON in, JSON out, one process that serves all clients at once.
const SERVER: &str = "function main() { return {}; }\n\
    require('http').createServer((request, response) => {\n\
      let body = '';\n\
      request.on('data', (piece) => { body += piece; });\n\
      request.on('end', async () => {\n\
        const answer = JSON.stringify(await main(JSON.parse(body)));\n\
        response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(answer) });\n\
        response.end(answer);\n\
      });\n\
    }).listen(0, '127.0.0.1', function () { console.log(this.address().port); });";

/// That server.
pub(crate) fn server() -> Result<Plain, Failure> {
    let mut command = Command::new("node");
    command.args(["-e", SERVER]);
    Plain::of(command)
}

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::with(&[("limits.action-concurrency-max", "500")])?;
    let (plain, hyper) = (server()?, Plain::hyper()?);
    let mut client = Client::connect(&node.host)?;
    let exec = kinds::node()?.exec();
    for (name, concurrency) in [("shared", 200), ("alone", 1)] {
        client.put(name, &json!({"exec": exec, "limits": {"memory": 256, "concurrency": concurrency}}))?;
        client.invoke(name)?.expect(200)?;
    }
    let mut ledger = Ledger::open(&mut client)?;
    let (mut shared, mut alone, mut reference, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let pressure = Pressure::begin();
    for _ in 0..REPETITIONS {
        plain.rate(CLIENTS, WARM_UP)?;
        reference.push(plain.rate(CLIENTS, MEASURED)?);
        for (name, rates) in [("shared", &mut shared), ("alone", &mut alone)] {
            let request = [http::call(&node.host, name)?];
            ledger.enter(load::closed(CLIENTS, WARM_UP, &request)?)?;
            rates.push(ledger.enter(load::closed(CLIENTS, MEASURED, &request)?)?.rate());
        }
        bare.push(hyper.rate(CLIENTS, WARM_UP)?);
    }
    let (shared, alone, reference) = (most(&shared), most(&alone), most(&reference));
    report.judge(
        &format!("Node.js no-op, {CLIENTS} at once in one container ÷ the same function behind `node http`"),
        &Measured::ratio(shared / reference).with(format!(
            "{} ÷ {}/s",
            grouped(shared, 0),
            grouped(reference, 0)
        )),
        Bound::at_least(0.5).stretch(0.7),
    );
    report.beside("one at a time in each container", format!("{}/s", grouped(alone, 0)));
    report.beside("a plain hyper server, same clients", format!("{}/s", grouped(most(&bare), 0)));
    report.beside("meanwhile", pressure.share());
    ledger.close(&mut client, report)
}
