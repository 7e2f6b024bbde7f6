//! A web action against a call of the same function with credentials.

use chasen_loadgen::Target;
use serde_json::json;

use crate::http::{self, Client};
use crate::ledger::Ledger;
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::report::{Bound, Measured, Report, grouped};
use crate::stats::most;
use crate::throughput::{CLIENTS, MEASURED, WARM_UP};
use crate::{Failure, kinds};

const REPETITIONS: usize = 5;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::start()?;
    let mut client = Client::connect(&node.host)?;
    client.put(
        "stub",
        &json!({"exec": kinds::native_stub()?, "limits": {"memory": 128},
                "annotations": [{"key": "web-export", "value": true}]}),
    )?;
    client.invoke("stub")?.expect(200)?;
    let url = format!("http://{}/api/v1/web/guest/default/stub.json", node.host);
    let web = [Target::new("POST", &url)?.header("Content-Type", "application/json")?.body("{}")?];
    let call = [http::call(&node.host, "stub")?];
    let mut ledger = Ledger::open(&mut client)?;
    let pressure = Pressure::begin();
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        for (rates, request) in [(&mut reference, &call), (&mut ours, &web)] {
            ledger.enter(load::closed(CLIENTS, WARM_UP, request)?)?;
            rates.push(ledger.enter(load::closed(CLIENTS, MEASURED, request)?)?.rate());
        }
    }
    let (ours, reference) = (most(&ours), most(&reference));
    report.judge(
        "web action, JSON in and out ÷ blocking calls of the same native stub",
        &Measured::ratio(ours / reference).with(format!(
            "{} ÷ {}/s",
            grouped(ours, 0),
            grouped(reference, 0)
        )),
        Bound::at_least(0.9),
    );
    report.beside("meanwhile", pressure.share());
    ledger.close(&mut client, report)
}
