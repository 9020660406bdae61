#!/usr/bin/env python3
"""The ledger finds what it must find, and the senders and the recording server tell it the truth."""

import random
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(1, str(Path(__file__).parent.parent / "node"))

import ledger
import load
import messages
import plan
import sink
from deadlines import wait_until

BOX = f"box1@{messages.BOX_DOMAIN}"


def message(message_id="m1"):
    return messages.Message(message_id, 1, (BOX,), b"text\n")


class LedgerTest(unittest.TestCase):
    def setUp(self):
        self.ledger = ledger.Ledger()
        self.ledger.round = 1
        self.message = message()
        self.ledger.sending(self.message)

    def kinds(self):
        return [finding.kind for finding in self.ledger.findings]

    def test_acknowledged_and_nowhere_is_lost(self):
        self.ledger.acknowledged(self.message)
        self.ledger.account(self.ledger.owed(), set())
        self.assertEqual(self.kinds(), ["lost"])

    def test_acknowledged_and_listed_or_arrived_is_not_lost(self):
        self.ledger.acknowledged(self.message)
        self.ledger.account(self.ledger.owed(), {("m1", BOX)})
        self.ledger.arrived("m1", BOX, True, 100.0, "here")
        self.ledger.account(self.ledger.owed(), set())
        self.assertEqual(self.kinds(), [])

    def test_not_acknowledged_is_not_owed(self):
        self.ledger.refused(self.message)
        self.assertEqual(self.ledger.owed(), [])

    def test_arrival_before_the_acknowledgement_counts(self):
        self.ledger.arrived("m1", BOX, True, 100.0, "here")
        self.ledger.acknowledged(self.message)
        self.assertEqual(self.ledger.owed(), [])

    def test_a_part_of_a_message_is_corrupt_acknowledged_or_not(self):
        self.ledger.arrived("m1", BOX, False, 100.0, "here")
        self.ledger.arrived(None, BOX, False, 100.0, "an empty file")
        self.assertEqual(self.kinds(), ["corrupt", "corrupt"])

    def test_arrival_at_somebody_else_is_corrupt(self):
        self.ledger.arrived("m1", f"box2@{messages.BOX_DOMAIN}", True, 100.0, "here")
        self.assertEqual(self.kinds(), ["corrupt"])

    def test_second_arrival_after_a_cut_is_a_duplicate(self):
        self.ledger.arrived("m1", BOX, True, 100.0, "here")
        self.ledger.cut(100.5)
        self.ledger.round = 2
        self.ledger.arrived("m1", BOX, True, 102.0, "there")
        self.assertEqual((self.ledger.duplicates(), self.kinds()), ((1, 0.5), []))

    def test_second_arrival_long_before_the_cut_is_unexplained(self):
        self.ledger.arrived("m1", BOX, True, 100.0, "here")
        self.ledger.cut(110.0)
        self.ledger.round = 2
        self.ledger.arrived("m1", BOX, True, 112.0, "there")
        self.assertEqual(self.kinds(), ["unexplained"])

    def test_what_was_to_be_removed_may_be_missing_and_may_arrive(self):
        self.ledger.acknowledged(self.message)
        self.ledger.ask("remove", ["m1"])
        self.ledger.account(self.ledger.owed(), set())
        self.ledger.arrived("m1", BOX, True, 100.0, "here")
        self.assertEqual(self.kinds(), [])

    def test_what_is_sent_while_all_is_removed_may_be_missing_but_not_later(self):
        self.ledger.ask_all("remove")
        second, third = message("m2"), message("m3")
        self.ledger.sending(second)
        self.ledger.ask_all_ends()
        self.ledger.sending(third)
        self.ledger.acknowledged(second)
        self.ledger.acknowledged(third)
        self.ledger.account(self.ledger.owed(), set())
        self.assertEqual([finding.text.split()[0] for finding in self.ledger.findings], ["m3"])

    def test_a_delete_of_held_mail_removes_only_what_may_be_held(self):
        self.ledger.acknowledged(self.message)
        self.ledger.ask_all("remove held")
        self.ledger.account(self.ledger.owed(), set())
        self.assertEqual(self.kinds(), ["lost"])

    def test_deleted_mail_that_is_listed_or_comes_much_later_is_undone(self):
        for happens in (lambda: self.ledger.listed(["m1"], 101.0),
                        lambda: self.ledger.arrived("m1", BOX, True, 110.0, "here")):
            self.setUp()
            self.ledger.ask("remove", ["m1"])
            self.ledger.answered("remove", ["m1"], 100.0)
            self.ledger.listed(["m1"], 99.0)
            self.assertEqual(self.kinds(), [])
            happens()
            self.assertEqual(self.kinds(), ["undone"])

    def test_held_mail_that_comes_is_undone_unless_somebody_released_it(self):
        self.ledger.answered("hold", ["m1"], 100.0)
        self.ledger.ask("deliver", ["m1"])
        self.ledger.arrived("m1", BOX, True, 110.0, "here")
        self.assertEqual(self.kinds(), [])
        self.ledger.sending(message("m2"))
        self.ledger.answered("hold", ["m2"], 100.0)
        self.ledger.arrived("m2", BOX, True, 110.0, "here")
        self.assertEqual(self.kinds(), ["undone"])

    def test_expired_mail_is_accounted_for_by_its_notice_that_waits_or_came(self):
        self.ledger.acknowledged(self.message)
        self.ledger.ask("expire", ["m1"])
        self.ledger.account(self.ledger.owed(), set(), {"m1"})
        self.assertEqual(self.kinds(), [])
        self.ledger.returned("m1", [BOX])
        self.assertEqual((self.kinds(), self.ledger.owed()), ([], []))

    def test_expired_mail_without_a_notice_is_lost_and_a_notice_without_a_wish_is_undone(self):
        self.ledger.acknowledged(self.message)
        self.ledger.returned("m1", [])
        self.ledger.ask("expire", ["m1"])
        self.ledger.account(self.ledger.owed(), set())
        self.assertEqual(self.kinds(), ["undone", "lost"])

    def test_second_arrival_without_a_cut_is_unexplained(self):
        self.ledger.arrived("m1", BOX, True, 100.0, "here")
        self.ledger.arrived("m1", BOX, True, 100.0, "there")
        self.assertEqual(self.kinds(), ["unexplained"])


class MessagesTest(unittest.TestCase):
    def setUp(self):
        self.sent = messages.Writer(1, "r1c1", random.Random(1), 1).next()

    def test_whole_message_is_recognized_with_either_line_end(self):
        for contents in (self.sent.contents(), self.sent.contents().replace(b"\r\n", b"\n"),
                         b"Received: somewhere\r\n" + self.sent.contents()):
            self.assertEqual(messages.identify(contents), (self.sent.id, True))

    def test_every_cut_off_is_recognized(self):
        contents = self.sent.contents()
        for size in range(0, len(contents), 97):
            self.assertFalse(messages.identify(contents[:size])[1], size)

    def test_a_page_of_zeroes_is_recognized(self):
        contents = bytearray(self.sent.contents())
        contents[-40:-20] = bytes(20)
        self.assertEqual(messages.identify(bytes(contents)), (self.sent.id, False))

    def test_some_are_longer_than_a_chunk(self):
        writer = messages.Writer(1, "r1c1", random.Random(2), 200)
        self.assertTrue(any(len(writer.next().body) > 131072 for _ in range(200)))


class LoadTest(unittest.TestCase):
    def test_what_the_senders_send_arrives_whole(self):
        account = ledger.Ledger()
        recorder = sink.Sink(account, 1, 0.0)
        writers = [messages.Writer(1, f"r1c{i}", random.Random(i), 30) for i in range(3)]
        senders = load.Load(recorder.port, account, writers)
        senders.start()
        self.assertTrue(senders.finished.wait(30))
        self.assertTrue(recorder.wait_idle(30))
        recorder.close()
        self.assertEqual(account.findings, [])
        self.assertEqual(account.owed(), [])
        self.assertIn("90 acknowledged, 0 unanswered", account.summary())

    def test_deferred_message_is_not_acknowledged(self):
        account = ledger.Ledger()
        recorder = sink.Sink(account, 1, 1.0)
        senders = load.Load(recorder.port, account, [messages.Writer(1, "r1c1", random.Random(1), 1)])
        senders.start()
        wait_until("a refusal", lambda: "1 refused" in account.summary())
        senders.stop()
        recorder.close()


class PlanTest(unittest.TestCase):
    def test_a_seed_repeats_its_round(self):
        self.assertEqual(plan.of_round(7, 500), plan.of_round(7, 500))

    def test_cuts_come_from_the_whole_range_on_both_sides(self):
        plans = [plan.of_round(seed, 500) for seed in range(2000)]
        cuts = {each.cut_at for each in plans}
        numbers = {int(cut.partition(":")[2]) for cut in cuts if cut}
        self.assertTrue(min(numbers) == 1 and max(numbers) > 490 and len(numbers) > 400)
        self.assertEqual({cut.partition(":")[0] for cut in cuts if cut}, {"before", "after"})
        self.assertIn(None, cuts)
        self.assertTrue(any(each.restore_seed == 0 for each in plans))

    def test_strict_keeps_nothing(self):
        self.assertTrue(all(plan.of_round(seed, 500, strict=True).restore_seed == 0
                            for seed in range(100)))


if __name__ == "__main__":
    unittest.main()
