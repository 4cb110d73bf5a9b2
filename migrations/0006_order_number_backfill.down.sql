-- The numbers stay: they go with their column, when 0005 is taken back.
ALTER TABLE purchase_order DROP CONSTRAINT purchase_order_has_number;
ALTER TABLE purchase_order
  ADD CONSTRAINT purchase_order_has_number CHECK (order_number IS NOT NULL) NOT VALID;
