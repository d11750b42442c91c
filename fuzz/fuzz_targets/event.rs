//! Event lines, as they come from a node: any line is an event or is none; an event is the same written and read again.
#![no_main]

use fruitjob_interface::Event;

libfuzzer_sys::fuzz_target!(|line: &str| {
    if let Ok(event) = serde_json::from_str::<Event>(line) {
        let text = serde_json::to_string(&event).unwrap();
        match serde_json::from_str::<Event>(&text) {
            Ok(again) => assert_eq!(text, serde_json::to_string(&again).unwrap()),
            // JSON has no infinity; a number beyond f32's is one.
            Err(_) => assert!(text.contains("null"), "{text}"),
        }
    }
});
