-- The valid constraint proves that there is no NULL: the table is not read again.
ALTER TABLE purchase_order ALTER COLUMN order_number SET NOT NULL;
ALTER TABLE purchase_order DROP CONSTRAINT purchase_order_has_number;

-- Writers wait while the index is built: a moment, for the orders of a shop.
ALTER TABLE purchase_order ADD CONSTRAINT purchase_order_number_key UNIQUE (order_number);
