use arrow_array::builder::{MapBuilder as ArrowMapBuilder, MapFieldNames, StringBuilder};
use proptest::prelude::*;

use super::*;

type Maps = Vec<Option<Vec<(String, String)>>>;

fn array(maps: &Maps) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let field = arrow_schema::Field::new("value", DataType::Utf8, false);
    let mut builder = ArrowMapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        .with_values_field(field);
    for map in maps {
        for (key, value) in map.iter().flatten() {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        builder.append(map.is_some()).expect("as many keys as values");
    }
    Arc::new(builder.finish())
}

proptest! {
    #[test]
    fn splitting_and_joining_is_the_identity(
        maps in proptest::collection::vec(
            proptest::option::of(proptest::collection::btree_map("[a-f]", "[x-z]{0,2}", 0..5)), 1..80),
    ) {
        let maps: Maps = maps.into_iter().map(|map| map.map(|map| map.into_iter().collect())).collect();
        let whole = array(&maps);
        let mut counts = KeyCounts::default();
        counts.add_array(&whole);
        let keys = counts.promoted();
        let rows_with = |key: &str| {
            maps.iter().flatten().filter(|map| map.iter().any(|(name, _)| name == key)).count() as u64
        };
        for key in ["a", "b", "c", "d", "e", "f"] {
            let frequent = rows_with(key) > 0 && rows_with(key) * ROWS_PER_KEY_MAX >= maps.len() as u64;
            prop_assert_eq!(keys.iter().any(|promoted| &**promoted == key), frequent, "{}", key);
        }
        let (promoted, rest) = split(as_map(&whole).expect("a map"), &keys);
        let promoted: Vec<_> = keys.into_iter().zip(promoted).collect();
        let joined = join(as_map(&rest).expect("a map"), &promoted);
        prop_assert_eq!(&joined, &whole);
    }
}
