use serde_json::{json, Error, Value};

pub fn main(args: Value) -> Result<Value, Error> {
    let name = args["name"].as_str().unwrap_or("stranger");
    Ok(json!({ "greeting": format!("Hello, {name}!") }))
}
