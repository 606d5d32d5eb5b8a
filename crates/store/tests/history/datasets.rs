//! Datasets and small records: created, widened, dropped, across restarts.

use tidewater_model::schema::DatasetDefinition;
use tidewater_store::StoreError;
use tidewater_store::disk::{Crash, FakeDisk};

use crate::world::{World, definition, row};

#[test]
fn a_dataset_is_widened_and_keeps_its_rows() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put(&[row("a", 1)]);
    let wider = DatasetDefinition::from_json(br#"{"columns": {"channel": "string"}}"#).unwrap();
    let (id, dataset) = world.store.put_dataset("events", wider).unwrap();
    assert_eq!((id, dataset.columns.len()), (world.dataset, 5));
    assert_eq!(world.rows(), [row("a", 1)]);
    let conflict = DatasetDefinition::from_json(br#"{"columns": {"channel": "int"}}"#).unwrap();
    assert!(matches!(world.store.put_dataset("events", conflict), Err(StoreError::Schema(_))));
    let world = World::fake(&disk.crash(Crash::LoseAll));
    assert_eq!(world.store.dataset("events").unwrap().1.columns.len(), 5);
    assert_eq!(world.rows(), [row("a", 1)]);
}

#[test]
fn a_dropped_dataset_is_gone_and_its_name_is_free() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    world.put(&[row("a", 1)]);
    world.store.flush().unwrap();
    world.put(&[row("b", 2)]);
    assert!(world.store.drop_dataset("events").unwrap());
    assert!(!world.store.drop_dataset("events").unwrap());
    assert!(world.store.dataset("events").is_none());
    assert!(matches!(world.try_put(&[row("c", 3)]), Err(StoreError::UnknownDataset)));
    let (id, _) = world.store.put_dataset("events", definition()).unwrap();
    assert_ne!(id, world.dataset);
    let world = World::fake(&disk.crash(Crash::LoseAll));
    assert_eq!(world.dataset, id);
    assert_eq!(world.rows(), [], "rows of the dropped dataset in the log are left out");
    assert_eq!(world.put(&[row("a", 1)]).accepted, 1, "ids belong to the dataset");
    assert_eq!(world.store.stats().segments, 0);
}

#[test]
fn small_records_are_durable() {
    let disk = FakeDisk::new();
    let world = World::fake(&disk);
    for (space, key) in [("keys", "b"), ("keys", "a"), ("key", "x"), ("keyz", "y")] {
        world.store.kv_put(space, key, key.as_bytes()).unwrap();
    }
    world.store.kv_delete("keys", "b").unwrap();
    let world = World::fake(&disk.crash(Crash::LoseAll));
    assert_eq!(world.store.kv_list("keys").unwrap(), [("a".to_owned(), b"a".to_vec())]);
    assert_eq!(world.store.kv_get("keyz", "y").unwrap().as_deref(), Some(&b"y"[..]));
    assert_eq!(world.store.kv_get("keys", "b").unwrap(), None);
}
