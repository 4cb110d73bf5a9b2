UPDATE purchase_order SET order_number = DEFAULT WHERE order_number IS NULL;

-- Reads the whole table, but under a lock that lets others read and write.
ALTER TABLE purchase_order VALIDATE CONSTRAINT purchase_order_has_number;
