//! A trial.
#[path = "../src/debnix/mod.rs"]
mod debnix;
#[path = "../src/tools/mod.rs"]
mod tools;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args[1] == "pin" { return debnix::pin(args[2].as_ref()).unwrap(); }
    let format = if args.get(3).is_some() { tools::Format::Json } else { tools::Format::Table };
    if let Err(e) = tools::run(args[2].as_ref(), &tools::ToolChoice::default(), format) { println!("error: {e}\nhint: {}", e.hint()); }
}
