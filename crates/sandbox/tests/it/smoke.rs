//! A cell lives and dies.
use chasen_sandbox::helper::Mode;
use libtest_mimic::Trial;
use crate::house::{House, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("facts", || async {
        let house = House::open(Mode::Isolated).await;
        let mut guest = house.start(&["facts"]).await;
        println!("{}", guest.all());
        println!("{:?}", guest.cell.exited().await);
        println!("{:?}", guest.cell.kill().await);
        println!("{:?}", house.groups());
        house.helper.close().await.unwrap();
        println!("{:?}", house.groups());
    })]
}
