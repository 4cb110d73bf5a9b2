ALTER TABLE purchase_order DROP CONSTRAINT purchase_order_number_key;
ALTER TABLE purchase_order ADD CONSTRAINT purchase_order_has_number CHECK (order_number IS NOT NULL);
ALTER TABLE purchase_order ALTER COLUMN order_number DROP NOT NULL;
